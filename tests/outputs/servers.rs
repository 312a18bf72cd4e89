//! Postfix and Dovecot serve with the tables, each name its own certificate.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mailcert::api::domain::Sni;
use mailcert::decide::domain::sni::{Member, Source, plan};
use mailcert::pki::{KeySpec, Outputs};
use mailcert_testenv::{claim_port, packages};

use crate::{Signed, say, without};

/// A folder as a pod mounts it, with three domains of a group and a certificate to serve to everybody else.
struct Ground {
    dir: tempfile::TempDir,
    fallback: Signed,
    domains: Vec<(String, Signed)>,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Both servers drop their rights, and read below it.
        say("chmod", &["755", &dir.path().display().to_string()]);
        let fallback = Signed::new(&["mx.example.com"], &KeySpec::P256);
        fallback.write(dir.path(), &Outputs::default());
        // The first has a wildcard that covers a name of the last, whose own certificate counts for it.
        let specs: [(&str, &[&str], KeySpec); 3] = [
            ("a-com", &["mail.a.test", "old.a.test", "*.c.test"], KeySpec::P256),
            ("b-org", &["mail.b.test"], KeySpec::rsa(2048)),
            ("c-net", &["mail.c.test"], KeySpec::ecdsa(384)),
        ];
        let folder = dir.path().join("sni");
        fs::create_dir(&folder).unwrap();
        let (mut members, mut domains) = (Vec::new(), Vec::new());
        for (name, sans, key) in specs {
            let signed = Signed::new(sans, &key);
            let scratch = tempfile::tempdir().unwrap();
            signed.write(scratch.path(), &Outputs::default());
            fs::copy(scratch.path().join("tls-combined.pem"), folder.join(format!("{name}.pem"))).unwrap();
            let names: Vec<String> = sans.iter().map(|n| (*n).to_owned()).collect();
            members.push(Member {
                name: name.to_owned(),
                sni: Sni { secret_name: "mail-sni".to_owned(), mount_path: folder.display().to_string() },
                names: names.iter().filter(|n| !n.starts_with('*')).cloned().collect(),
                certificate: Some(Source {
                    secret_name: format!("{name}-tls"),
                    fingerprint: signed.chain.leaf().fingerprint.to_string(),
                    dns_names: names,
                }),
            });
            domains.push((name.to_owned(), signed));
        }
        for (file, text) in plan(&members).tables {
            fs::write(folder.join(file), text).unwrap();
        }
        Self { dir, fallback, domains }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Asks with every kind of name, and with none.
    fn check(&self, port: u16, starttls: &[&str]) {
        let serial = |name: &str| self.domains.iter().find(|(n, _)| n == name).unwrap().1.serial();
        let cases = [
            (Some("mail.a.test"), serial("a-com")),
            (Some("old.a.test"), serial("a-com")),
            (Some("mail.b.test"), serial("b-org")),
            (Some("MAIL.B.TEST"), serial("b-org")),
            (Some("mail.c.test"), serial("c-net")),
            (Some("other.c.test"), serial("a-com")),
            (Some("elsewhere.test"), self.fallback.serial()),
            (None, self.fallback.serial()),
        ];
        for (name, expected) in cases {
            assert_eq!(served(port, name, starttls), expected, "{name:?} {starttls:?}");
        }
    }
}

/// The serial number of the leaf that a port serves; waits for the server to listen.
fn served(port: u16, name: Option<&str>, starttls: &[&str]) -> String {
    let connect = format!("127.0.0.1:{port}");
    let mut arguments = vec!["s_client", "-connect", &connect, "-showcerts"];
    arguments.extend(starttls);
    arguments.extend(name.map_or(vec!["-noservername"], |name| vec!["-servername", name]));
    let start = Instant::now();
    loop {
        let output = Command::new("openssl").args(&arguments).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if let Some(at) = text.find("-----BEGIN CERTIFICATE-----") {
            return serial_of(&text[at..]);
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "no certificate: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        std::thread::yield_now();
    }
}

fn serial_of(pem: &str) -> String {
    let mut x509 = Command::new("openssl")
        .args(["x509", "-noout", "-serial"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    x509.stdin.take().unwrap().write_all(pem.as_bytes()).unwrap();
    let output = x509.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap().to_ascii_lowercase();
    text.trim().trim_start_matches("serial=").trim_start_matches('0').to_owned()
}

/// Stops a server, whatever becomes of the test.
struct Stop(&'static str, Vec<String>);

impl Drop for Stop {
    fn drop(&mut self) {
        let _ = Command::new(self.0).args(&self.1).stdin(Stdio::null()).output();
    }
}

fn folder(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn postfix_serves_each_name_its_certificate_from_the_mounted_table() {
    if without(&packages::SERVERS) || !packages::root() {
        return;
    }
    let ground = Ground::new();
    let port = claim_port().unwrap();
    let root = folder(ground.dir.path().join("postfix"));
    let config = folder(root.join("config"));
    let data = folder(root.join("data"));
    say("chown", &["postfix", &data.display().to_string()]);
    let queue = folder(root.join("queue"));
    let main = format!(
        "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\nmyhostname = mx.example.com\n\
         inet_interfaces = 127.0.0.1\nmaillog_file = {}\nmaillog_file_prefixes = /\nmydestination =\n\
         local_recipient_maps =\nalias_maps =\nsmtpd_peername_lookup = no\nsmtpd_tls_security_level = may\n\
         smtpd_tls_chain_files = {}\ntls_server_sni_maps = texthash:{}\n",
        queue.display(),
        data.display(),
        root.join("log").display(),
        ground.file("tls-combined.pem"),
        ground.file("sni/postfix-sni"),
    );
    let master = format!(
        "127.0.0.1:{} inet n - n - - smtpd\ntlsmgr unix - - n 1000? 1 tlsmgr\nrewrite unix - - n - - trivial-rewrite\n\
         proxymap unix - - n - - proxymap\nanvil unix - - n - 1 anvil\ncleanup unix n - n - 0 cleanup\n\
         postlog unix-dgram n - n - 1 postlogd\n",
        port.number
    );
    fs::write(config.join("main.cf"), main).unwrap();
    fs::write(config.join("master.cf"), master).unwrap();
    let at = config.display().to_string();
    let _stop = Stop("postfix", vec!["-c".to_owned(), at.clone(), "stop".to_owned()]);
    say("postfix", &["-c", &at, "start"]);
    ground.check(port.number, &["-starttls", "smtp"]);
    // The table that `postmap -F` makes of it says the same.
    let table = ground.file("table");
    fs::copy(ground.file("sni/postfix-sni"), &table).unwrap();
    say("postmap", &["-c", &at, "-F", &format!("hash:{table}")]);
    say("postconf", &["-c", &at, "-e", &format!("tls_server_sni_maps=hash:{table}")]);
    say("postfix", &["-c", &at, "reload"]);
    ground.check(port.number, &["-starttls", "smtp"]);
}

#[test]
fn dovecot_serves_each_name_its_certificate_from_the_snippet() {
    if without(&packages::SERVERS) || !packages::root() {
        return;
    }
    let ground = Ground::new();
    let port = claim_port().unwrap();
    let root = folder(ground.dir.path().join("dovecot"));
    let config = format!(
        "base_dir = {}\nlog_path = {}\nprotocols = imap\nlisten = 127.0.0.1\nssl = required\n\
         ssl_cert = <{2}\nssl_key = <{2}\n\
         passdb {{\n  driver = static\n  args = nopassword=y\n}}\n\
         userdb {{\n  driver = static\n  args = uid=65534 gid=65534 home=/nonexistent\n}}\n\
         service imap-login {{\n  chroot =\n  inet_listener imap {{\n    port = 0\n  }}\n  inet_listener imaps {{\n    \
         port = {3}\n    ssl = yes\n  }}\n}}\n!include {4}\n",
        folder(root.join("run")).display(),
        root.join("log").display(),
        ground.file("tls-combined.pem"),
        port.number,
        ground.file("sni/dovecot-sni.conf"),
    );
    let at = root.join("dovecot.conf").display().to_string();
    fs::write(Path::new(&at), config).unwrap();
    let _stop = Stop("doveadm", vec!["-c".to_owned(), at.clone(), "stop".to_owned()]);
    // In the background it keeps what it was given for output, so it gets none: waiting for its end would take for ever.
    let mut dovecot = Command::new("dovecot");
    dovecot.args(["-c", &at]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(dovecot.status().unwrap().success());
    ground.check(port.number, &[]);
}
