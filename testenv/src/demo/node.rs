//! The whole: a node with an ACME server, the operator installed through its chart, and a mail server in pods.

use super::{
    door::Door,
    failure::{self, Log, Scene},
    kube::Kube,
    programs,
    quickstart::{Quickstart, checkout},
    screen,
    story::Story,
};
use mailcert_testenv::{Cluster, Error, MailClient, Options, Pebble, PebbleOptions, Result, images, tools};
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The one external address, for mail and for HTTP-01 challenges, on different ports.
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(10, 210, 0, 10);
const HOST: &str = "mail.example.com";

/// Starts it in `dir`, and leaves it running.
pub fn up(dir: &Path, binary: &Path) -> Result<()> {
    screen::say(
        "mailcert on a Kubernetes node of its own (in a network namespace; nothing of it reaches the network)\n",
    );
    let (mail, operator) = images(binary)?;
    let mut cluster = None;
    screen::did("the cluster starts", || {
        let node = Options { node: true, ..Options::default() };
        let new = cluster.insert(Cluster::up_detached(dir, &node)?);
        Ok(format!(
            "cluster started: API server, etcd, controllers, one node with containerd, in {}",
            new.dir().display()
        ))
    })?;
    let cluster = cluster.ok_or_else(|| Error::new("no cluster"))?;
    let bin = programs(cluster.dir())?;
    let hint = hint(&bin);
    let kube = Kube::Own(&cluster);
    let scene =
        Scene { kube: &kube, namespace: "mail", log: Log::Deployment("mailcert-system", "mailcert"), hint: &hint };
    tell(&cluster, &mail, &operator).map_err(|error| failure::explain(&scene, error))?;
    screen::say(&hint);
    Ok(())
}

fn images(binary: &Path) -> Result<(PathBuf, PathBuf)> {
    let mut made = None;
    screen::did("the images are made", || {
        let (_, mail, operator) = (images::pause()?, images::mail()?, images::operator(binary)?);
        made = Some((mail, operator));
        Ok("images made: Postfix and Dovecot (Debian), mailcert (an unoptimized build)".to_owned())
    })?;
    made.ok_or_else(|| Error::new("no images"))
}

fn tell(cluster: &Cluster, mail: &Path, operator: &Path) -> Result<()> {
    let acme = surroundings(cluster, mail, operator)?;
    install(cluster)?;
    apply(cluster, &acme)?;
    let client = MailClient::new(acme.root_pem(), HOST)?;
    let door = Some(Door::Node(cluster, EXTERNAL, client));
    let story = Story { kube: Kube::Own(cluster), namespace: "mail", door };
    story.first()?;
    story.renewal()
}

/// What is there before mailcert: images on the node, an ACME server, DNS.
fn surroundings(cluster: &Cluster, mail: &Path, operator: &Path) -> Result<Pebble> {
    screen::did("the images are loaded", || {
        cluster.load_image(mail)?;
        cluster.load_image(operator)?;
        Ok("images loaded into the node".to_owned())
    })?;
    let mut acme = None;
    screen::did("the ACME server starts", || {
        let profiles = vec![("default".to_owned(), 90 * 86_400)];
        let options = PebbleOptions { profiles, ..PebbleOptions::default() };
        let pebble = acme.insert(Pebble::start_in(cluster, &options)?);
        pebble.set_a(HOST, EXTERNAL)?;
        Ok(format!("ACME server started: Pebble at {}; DNS: {HOST} is {EXTERNAL}", pebble.directory_url()))
    })?;
    acme.ok_or_else(|| Error::new("no ACME server"))
}

/// Installs the operator as the README says, and gives its challenge Service the external address.
fn install(cluster: &Cluster) -> Result<()> {
    screen::say(
        "\n  $ helm upgrade --install mailcert charts/mailcert --namespace mailcert-system --create-namespace \\\n      \
         --set image.repository=localhost/mailcert --set-string image.tag=1 --set image.pullPolicy=Never \\\n      \
         --set challengeService.type=LoadBalancer --set operator.logFormat=text",
    );
    screen::did("the operator is installed", || {
        let mut command = Command::new(tools::HELM.path()?);
        command.args(["upgrade", "--install", "mailcert"]).arg(checkout().join("charts/mailcert"));
        command.args(["--namespace", "mailcert-system", "--create-namespace", "--set-string", "image.tag=1"]);
        command.args(["--set", "image.repository=localhost/mailcert,image.pullPolicy=Never"]);
        command.args(["--set", "challengeService.type=LoadBalancer,operator.logFormat=text", "--timeout", "2m"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = cluster.exec(command)?;
        let output = child.wait_with_output().map_err(|error| Error::new(format!("helm: {error}")))?;
        if !output.status.success() {
            return Err(Error::new(format!("helm: {}", String::from_utf8_lossy(&output.stderr).trim())));
        }
        cluster.set_load_balancer_ip("mailcert-system", "mailcert-challenges", EXTERNAL)?;
        cluster.kubectl(&["-n", "mailcert-system", "rollout", "status", "deployment/mailcert", "--timeout=120s"])?;
        Ok(format!("operator installed and ready; port 80 of {EXTERNAL} leads to it"))
    })
}

fn apply(cluster: &Cluster, acme: &Pebble) -> Result<()> {
    screen::say(
        "\n  $ kubectl create namespace mail && kubectl apply -k examples/quickstart\n    \
         (with one change: the issuer's server is Pebble in place of LetsEncryptStaging, with its caBundle)",
    );
    screen::did("the quick start is applied", || {
        let issuer = Quickstart::acme(&acme.directory_url(), acme.ca_pem());
        let changed = cluster.dir().join("applied");
        Quickstart { namespace: "mail", issuer, mail: Some("localhost/mail:1".to_owned()), address: None }
            .write(&changed)?;
        cluster.kubectl(&["create", "namespace", "mail"])?;
        let applied = cluster.kubectl(&["apply", "-k", &changed.display().to_string()])?;
        cluster.set_load_balancer_ip("mail", "mail", EXTERNAL)?;
        let names: Vec<&str> = applied.lines().filter_map(|line| line.split(' ').next()).collect();
        Ok(format!("quick start applied: {}", names.join(", ").replace(".mailcert.dev", "").replace(".apps", "")))
    })
}

fn hint(bin: &Path) -> String {
    let kubectl = bin.join("kubectl");
    let kubectl = kubectl.display();
    format!(
        "\nThe cluster stays. To look around:\n  \
         make demo-shell                                    a shell with kubectl and helm for it\n  \
         {kubectl} get maildomains,mailcertificates,mailissuers,pods -n mail\n  \
         {kubectl} describe maildomain mail -n mail\n  \
         {kubectl} logs -n mailcert-system deployment/mailcert\n  \
         make demo-down                                     ends and removes everything"
    )
}
