//! In the cluster of the user's current context: one namespace, the CustomResourceDefinitions, and nothing else.

use super::{
    door::Door,
    failure::{self, Log, Scene},
    kube::{Kube, run, text},
    make_ca,
    quickstart::{Quickstart, checkout},
    screen,
    story::Story,
};
use mailcert_testenv::{
    Error, MailClient, Result,
    tools::{self, Tool},
};
use serde_json::json;
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The release and its namespace, which is the demo's alone.
const NAME: &str = "mailcert-demo";
/// By which the namespace is known to be the demo's.
const LABEL: &str = "mailcert.dev/demo";
const CRDS: [&str; 3] = ["maildomains.mailcert.dev", "mailcertificates.mailcert.dev", "mailissuers.mailcert.dev"];

/// Installs the operator's `image` and applies the quick start, with the mail server when there is a `mail` image.
pub fn up(image: &str, mail: Option<&str>) -> Result<()> {
    let kubectl = program(&tools::KUBECTL)?;
    let kube = Kube::Current(&kubectl);
    let context = context(&kube)?;
    let server = match mail {
        Some(mail) => format!("Postfix and Dovecot from {mail}"),
        None => "no mail server (give MAIL_IMAGE, an image made like the quick start's, to have one)".to_owned(),
    };
    screen::say(&format!(
        "mailcert in the cluster of the current context: {context}\n\
         It installs the CustomResourceDefinitions of mailcert.dev, and in the namespace {NAME}, which it creates:\n\
         the operator from the image {image}, a CA of its own as issuer, and the quick start with {server}.\n\
         `make demo-down CLUSTER=current` removes exactly that.\n"
    ));
    guard(&kube)?;
    let hint = format!(
        "\nIt stays. To look around:\n  \
         kubectl get maildomains,mailcertificates,mailissuers,pods -n {NAME}\n  \
         kubectl logs -n {NAME} deployment/{NAME}\n  \
         make demo-down CLUSTER=current                     removes it"
    );
    let scene = Scene { kube: &kube, namespace: NAME, log: Log::Deployment(NAME, NAME), hint: &hint };
    tell(&kubectl, image, mail).map_err(|error| failure::explain(&scene, error))?;
    screen::say(&hint);
    Ok(())
}

/// Removes what [`up`] made.
pub fn down() -> Result<()> {
    let kubectl = program(&tools::KUBECTL)?;
    let kube = Kube::Current(&kubectl);
    screen::say(&format!("current context: {}", context(&kube)?));
    if !kube.has(&["namespace", NAME])? {
        screen::say("no demo there");
        return Ok(());
    }
    own(&kube)?;
    screen::did("the demo is removed", || {
        // With the definitions go the objects; the operator still runs then, should one wait for it.
        let ours: Vec<&str> = CRDS.into_iter().filter(|crd| owner(&kube, crd).is_ok_and(|of| of == NAME)).collect();
        let delete = ["delete", "--ignore-not-found", "--timeout=60s"];
        if !ours.is_empty() {
            kube.run(&[&delete, ["crd"].as_slice(), &ours].concat())?;
        }
        run(
            Command::new(program(&tools::HELM)?).args([
                "uninstall",
                NAME,
                "--namespace",
                NAME,
                "--ignore-not-found",
                "--wait",
                "--timeout",
                "2m",
            ]),
            "",
        )?;
        kube.run(&["delete", "namespace", NAME, "--timeout=120s"])?;
        Ok(format!("release, namespace {NAME} and definitions removed"))
    })
}

/// Refuses where something that is not the demo's would be changed.
fn guard(kube: &Kube<'_>) -> Result<()> {
    for crd in CRDS {
        let of = owner(kube, crd)?;
        if !of.is_empty() && of != NAME {
            return Err(Error::new(format!(
                "{crd} exists already and is not this demo's: mailcert seems to be installed there. Nothing was changed; \
                 apply examples/quickstart to use it"
            )));
        }
    }
    if kube.has(&["namespace", NAME])? {
        own(kube)?;
    }
    Ok(())
}

fn own(kube: &Kube<'_>) -> Result<()> {
    let namespace = kube.get(&["namespace", NAME])?;
    if namespace["metadata"]["labels"][LABEL] == "true" {
        return Ok(());
    }
    Err(Error::new(format!("the namespace {NAME} exists and lacks the label {LABEL}=true, so it is not this demo's")))
}

/// The Helm release that a CustomResourceDefinition belongs to, `?` for none, empty where it does not exist.
fn owner(kube: &Kube<'_>, crd: &str) -> Result<String> {
    if !kube.has(&["crd", crd])? {
        return Ok(String::new());
    }
    let crd = kube.get(&["crd", crd])?;
    let part = |name: &str| text(&crd, &format!("/metadata/annotations/meta.helm.sh~1{name}")).to_owned();
    let (name, namespace) = (part("release-name"), part("release-namespace"));
    Ok(if name == namespace && !name.is_empty() { name } else { "?".to_owned() })
}

fn tell(kubectl: &Path, image: &str, mail: Option<&str>) -> Result<()> {
    let kube = Kube::Current(kubectl);
    screen::did("the operator is installed", || {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME, "labels": {LABEL: "true"}}});
        kube.run_with(&["apply", "-f", "-"], &namespace.to_string())?;
        install(image)?;
        kube.run(&["-n", NAME, "rollout", "status", &format!("deployment/{NAME}"), "--timeout=180s"])?;
        Ok(format!("operator installed: release {NAME}, for its own namespace only (watchNamespaces)"))
    })?;
    let mut ca = String::new();
    screen::did("the quick start is applied", || {
        ca = make_ca(&kube, NAME)?;
        let folder = env::temp_dir().join(format!("{NAME}-{}", std::process::id()));
        let applied = apply(&kube, &folder, mail);
        let _ = std::fs::remove_dir_all(&folder);
        applied.map(|()| "quick start applied, with a CA of its own as issuer".to_owned())
    })?;
    let door = match mail {
        Some(_) => Some(Door::Forward(kubectl, NAME, MailClient::new(&ca, "mail.example.com")?)),
        None => None,
    };
    let story = Story { kube, namespace: NAME, door };
    story.first()?;
    story.renewal()
}

/// Applies the quick start. Its endpoints are connected to at the Service's address, since `mail.example.com` leads
/// nowhere there.
fn apply(kube: &Kube<'_>, folder: &Path, mail: Option<&str>) -> Result<()> {
    let issuer = Quickstart::ca("mail-ca");
    let mut quickstart = Quickstart { namespace: NAME, issuer, mail: mail.map(str::to_owned), address: None };
    let apply = ["apply", "-k", &folder.display().to_string()];
    if mail.is_some() {
        let service =
            include_str!("../../../examples/quickstart/mail.yaml").split("\n---\n").last().unwrap_or_default();
        let service = service.replace("type: LoadBalancer", "type: ClusterIP");
        kube.run_with(&["apply", "-n", NAME, "-f", "-"], &service)?;
        let service = kube.get(&["-n", NAME, "service/mail"])?;
        quickstart.address = Some(text(&service, "/spec/clusterIP").to_owned());
    }
    quickstart.write(folder)?;
    kube.run(&apply).map(drop)
}

fn install(image: &str) -> Result<()> {
    let (repository, version) = match image.split_once('@') {
        Some((repository, digest)) => (repository, format!("image.digest={digest}")),
        None => match image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
            Some((repository, tag)) => (repository, format!("image.tag={tag}")),
            None => (image, "image.tag=latest".to_owned()),
        },
    };
    let mut command = Command::new(program(&tools::HELM)?);
    command.args(["upgrade", "--install", NAME]).arg(checkout().join("charts/mailcert"));
    command.args([
        "--namespace",
        NAME,
        "--set",
        &format!("watchNamespaces={{{NAME}}},crds.keep=false,operator.logFormat=text"),
    ]);
    command.args(["--set-string", &format!("image.repository={repository},{version}"), "--timeout", "3m"]);
    run(&mut command, "").map(drop)
}

fn context(kube: &Kube<'_>) -> Result<String> {
    let name = kube.run(&["config", "current-context"])?;
    let server = kube.run(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"])?;
    Ok(format!("{} ({})", name.trim(), server.trim()))
}

/// The user's own program, else the test environment's.
fn program(tool: &Tool) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join(tool.name)).find(|path| path.is_file());
    found.map_or_else(|| tool.path(), Ok)
}
