//! Nodes run pods side by side, serve mail, and leave nothing behind when their process is killed.

use crate::common::{holder, pods_ready, traces, wait_for};
use mailcert_testenv::{Cluster, MAIL_MANIFEST, Pebble, PebbleOptions, images, packages, pki};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
};

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: sleeper}
spec: {terminationGracePeriodSeconds: 0, containers: [{name: sleeper, image: 'localhost/pause:1'}]}
";

/// The testenv binary stands for the operator's: it says how to use it, and ends.
const OPERATOR: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: operator}
spec:
  restartPolicy: Never
  securityContext: {runAsNonRoot: true}
  containers:
    - name: operator
      image: localhost/mailcert:1
      securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";

/// The instance's global name: that of its network namespace.
fn id(cluster: &Cluster) -> String {
    let output = std::fs::read_to_string(cluster.dir().join("kubelet.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&output).unwrap();
    config["cgroupRoot"].as_str().unwrap().trim_start_matches('/').to_owned()
}

#[test]
fn a_killed_node_leaves_nothing_and_its_neighbour_alone() {
    let Some(neighbour) = Cluster::node_or_skip() else { return };
    let (mut holder, dir) = holder(&["--node"]);
    let killed = Cluster::open(&dir).unwrap();
    for cluster in [&neighbour, &killed] {
        cluster.apply(POD).unwrap();
        wait_for("the pod", || pods_ready(cluster));
    }
    let id = id(&killed);
    assert!(traces(&dir, &id).iter().any(|trace| trace.starts_with("/sys/fs/cgroup")), "its cgroups are its own");
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_for("the reaper", || traces(&dir, &id).is_empty());

    let restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    assert_eq!(neighbour.kubectl(&["get", "pods", "-o", restarts]).unwrap(), "0");
    assert!(pods_ready(&neighbour));
    assert_eq!(neighbour.kubectl(&["exec", "sleeper", "--", "cat", "/proc/1/comm"]).unwrap(), "sleep\n");
    // What a client in a pod connects to.
    let api = "nc -w 10 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null";
    neighbour.kubectl(&["exec", "sleeper", "--", "sh", "-c", api]).expect("pods reach the API server");

    let operator = images::operator(env!("CARGO_BIN_EXE_testenv").as_ref()).unwrap();
    neighbour.load_image(&operator).unwrap();
    neighbour.apply(OPERATOR).unwrap();
    let phase = ["get", "pod", "operator", "-o", "jsonpath={.status.phase}"];
    wait_for("the operator's end", || neighbour.kubectl(&phase).unwrap() == "Failed");
    assert!(neighbour.kubectl(&["logs", "operator"]).unwrap().contains("usage: testenv"));
}

/// What `openssl s_client` shows of the certificate at an address inside.
fn served(cluster: &Cluster, address: SocketAddr, starttls: Option<&str>) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string(), "-servername", "mail.example.com"]);
    if let Some(protocol) = starttls {
        command.args(["-starttls", protocol]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = cluster.exec(command).unwrap().wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The Secret as mailcert would write it: Postfix reads key and certificate from one file.
fn tls_secret(cluster: &Cluster, pair: &pki::Pair) {
    let combined = format!("{}{}", pair.key_pem, pair.cert_pem);
    let files = [("tls.crt", &pair.cert_pem), ("tls.key", &pair.key_pem), ("tls-combined.pem", &combined)];
    let mut args = ["create", "secret", "generic", "mail-tls", "--type=kubernetes.io/tls"].map(str::to_owned).to_vec();
    for (name, content) in files {
        let path = cluster.dir().join(name);
        fs::write(&path, content).unwrap();
        args.push(format!("--from-file={name}={}", path.display()));
    }
    cluster.kubectl(&args.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
}

#[test]
fn the_mail_pod_serves_its_secret_on_every_port() {
    let Some(cluster) = Cluster::node_or_skip() else { return };
    packages::require(&packages::IMAGES).unwrap();
    cluster.load_image(&images::mail().unwrap()).unwrap();
    let pair = pki::Ca::new("test CA").unwrap().issue("mail.example.com", &["mail.example.com"], None).unwrap();
    tls_secret(&cluster, &pair);
    cluster.apply(MAIL_MANIFEST).unwrap();
    let ip = Ipv4Addr::new(10, 210, 0, 10);
    cluster.set_load_balancer_ip("default", "mail", ip).unwrap();
    wait_for("the mail pod", || pods_ready(&cluster));

    let body: String = pair.cert_pem.lines().filter(|line| !line.starts_with('-')).collect();
    let ports = [
        (25, Some("smtp")),
        (587, Some("smtp")),
        (465, None),
        (143, Some("imap")),
        (993, None),
        (110, Some("pop3")),
        (995, None),
        (4190, Some("sieve")),
    ];
    for (port, starttls) in ports {
        let address = SocketAddr::from((ip, port));
        wait_for(&format!("port {port} to serve the certificate"), || {
            served(&cluster, address, starttls).lines().collect::<String>().contains(&body)
        });
    }

    let pebble = Pebble::start_in(&cluster, &PebbleOptions::default()).unwrap();
    pebble.set_a("mail.example.com", ip).unwrap();
    let looked_up =
        cluster.kubectl(&["exec", "deploy/mail", "-c", "dovecot", "--", "getent", "ahostsv4", "mail.example.com"]);
    assert!(looked_up.unwrap().starts_with("10.210.0.10"), "pods ask Pebble's DNS server");

    let banner = cluster.relay(SocketAddr::from((ip, 25))).unwrap();
    let mut line = String::new();
    let connection = std::net::TcpStream::connect(banner).unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(connection), &mut line).unwrap();
    assert!(line.starts_with("220 mail.example.com ESMTP"), "{line}");
    let listed = Command::new(mailcert_testenv::tools::KUBECTL.path().unwrap())
        .args(["get", "nodes", "-o", "name", "--kubeconfig"])
        .arg(cluster.kubeconfig())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "node/node0\n", "the API is reachable from outside");
}
