//! Where no node can be had: a control plane, and the operator as a process next to it.

use super::{
    failure::{self, Log, Scene},
    kube::{Kube, run},
    make_ca, programs,
    quickstart::Quickstart,
    screen,
    story::Story,
};
use mailcert_testenv::{Cluster, Error, Options, Result, claim_port};
use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

/// Starts it in `dir`, and leaves it running. `why` there is no node.
pub fn up(dir: &Path, binary: &Path, why: &Error) -> Result<()> {
    screen::say(&format!(
        "mailcert on a control plane alone, since a node cannot be had here: {why}\n\
         Left out: pods (no mail server runs, nothing is restarted, no endpoint is probed), ACME (a CA key pair signs\n\
         instead), and the chart (the operator runs as a process beside the cluster, as an administrator).\n"
    ));
    let mut cluster = None;
    screen::did("the cluster starts", || {
        let new = cluster.insert(Cluster::up_detached(dir, &Options::default())?);
        Ok(format!("cluster started: API server, etcd, controllers, in {}", new.dir().display()))
    })?;
    let cluster = cluster.ok_or_else(|| Error::new("no cluster"))?;
    let kubectl = programs(cluster.dir())?.join("kubectl");
    let (kubectl, log) = (kubectl.display(), cluster.dir().join("operator.log"));
    let hint = format!(
        "\nThe cluster stays. To look around:\n  \
         make demo-shell                                    a shell with kubectl and helm for it\n  \
         {kubectl} get maildomains,mailcertificates,mailissuers,secrets -n mail\n  \
         {kubectl} describe mailcertificate mail -n mail\n  \
         less {}\n  \
         make demo-down                                     ends and removes everything",
        log.display()
    );
    let kube = Kube::Own(&cluster);
    let scene = Scene { kube: &kube, namespace: "mail", log: Log::File(&log), hint: &hint };
    tell(&cluster, binary, &log).map_err(|error| failure::explain(&scene, error))?;
    screen::say(&hint);
    Ok(())
}

fn tell(cluster: &Cluster, binary: &Path, log: &Path) -> Result<()> {
    let kube = Kube::Own(cluster);
    screen::did("the operator starts", || {
        let crds = run(Command::new(binary).arg("crds"), "")?;
        cluster.kubectl_with(&["apply", "--server-side", "-f", "-"], &crds)?;
        for name in ["maildomains", "mailcertificates", "mailissuers"] {
            let crd = format!("crd/{name}.mailcert.dev");
            cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &crd])?;
        }
        cluster.kubectl(&["create", "namespace", "mail"])?;
        operator(cluster, binary, log)?;
        Ok("operator started (mailcert operator), with its CustomResourceDefinitions".to_owned())
    })?;
    screen::did("the quick start is applied", || {
        make_ca(&kube, "mail")?;
        let changed = cluster.dir().join("applied");
        Quickstart { namespace: "mail", issuer: Quickstart::ca("mail-ca"), mail: None, address: None }
            .write(&changed)?;
        cluster.kubectl(&["apply", "-k", &changed.display().to_string()])?;
        Ok("quick start applied, with a CA as issuer and without the mail server".to_owned())
    })?;
    let story = Story { kube: Kube::Own(cluster), namespace: "mail", door: None };
    story.first()?;
    story.renewal()
}

/// Starts the operator; it ends with the cluster.
fn operator(cluster: &Cluster, binary: &Path, log: &Path) -> Result<()> {
    let wrap = |error: std::io::Error| Error::new(format!("cannot write {}: {error}", log.display()));
    let output = File::create(log).map_err(wrap)?;
    let errors = output.try_clone().map_err(wrap)?;
    let mut command = Command::new(binary);
    command.args(["operator", "--operator-namespace=mail", "--leader-elect=false", "--log-format=text"]);
    for what in ["challenge", "health", "metrics"] {
        command.arg(format!("--{what}-listen=127.0.0.1:{}", claim_port()?.number));
    }
    command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    let child = cluster.exec(command)?;
    // By which it is ended where processes cannot be found by their environment.
    fs::write(cluster.dir().join("operator.pid"), child.id().to_string()).map_err(wrap)
}
