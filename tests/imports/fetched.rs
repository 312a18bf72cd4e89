//! A missing issuer, fetched over the network by the operator itself.
//!
//! It asks public addresses only, and port 80. So the test runs itself once more in a network namespace, with a control plane of
//! its own, where such an address is this machine's.

use std::env;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use super::openssl::{Ca, Made};
use super::scene::{put, wait_active};
use crate::common::{Kube, Operator, Path, Stage, cluster, condition, namespace, wait_for_object};

/// Set inside the namespace.
const INSIDE: &str = "MAILCERT_TEST_INSIDE";
/// A public address. Nothing is asked there: inside, it is the loopback interface's.
const ADDRESS: &str = "192.0.32.8";
const NAME: &str = "fetched::a_missing_issuer_is_fetched_from_where_the_certificate_says_that_it_is";

#[test]
fn a_missing_issuer_is_fetched_from_where_the_certificate_says_that_it_is() {
    if env::var_os(INSIDE).is_some() {
        return inside();
    }
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !is_root {
        assert!(env::var("CI").as_deref() != Ok("true"), "CI=true: a network namespace needs root");
        return eprintln!("left out: a network namespace needs root");
    }
    // The API server wants a default route to find its own address by.
    let up = format!("ip link set lo up && ip address add {ADDRESS}/32 dev lo && ip route add default dev lo");
    let script = format!("{up} && exec \"$0\" \"$@\"");
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", &script])
        .arg(env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(INSIDE, "1")
        .env("PATH", format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default()))
        .output()
        .expect("unshare (package util-linux) starts");
    let said = [output.stdout, output.stderr].map(|out| String::from_utf8_lossy(&out).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Serves one file, and notes what it was asked for. Other paths are not found.
fn serve(path: &'static str, file: Vec<u8>) -> Arc<Mutex<Vec<String>>> {
    let listener = TcpListener::bind((ADDRESS, 80)).unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let book = asked.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let head = String::from_utf8_lossy(&request[..read]).into_owned();
            let (status, body) = if head.starts_with(&format!("GET {path} ")) {
                ("200 OK", &file[..])
            } else {
                ("404 Not Found", &[][..])
            };
            book.lock().unwrap().push(head);
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[answer.as_bytes(), body].concat());
        }
    });
    asked
}

/// A certificate below an intermediate CA, which says that this one is at `url`; and the intermediate in DER.
fn below_intermediate(ca: &Ca, url: &str) -> (Made, Vec<u8>) {
    let write = |name: &str, text: &str| std::fs::write(ca.dir().join(name), text).unwrap();
    let openssl = |arguments: &str| ca.run(&arguments.split(' ').collect::<Vec<_>>());
    write("middle.ext", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n");
    write(
        "leaf.ext",
        &format!(
            "subjectAltName=DNS:mail.example.com\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n\
             authorityInfoAccess=caIssuers;URI:{url}\n"
        ),
    );
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req {key} -keyout middle.key -out middle.csr -subj /CN=Between"));
    openssl(
        "x509 -req -in middle.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 900 -extfile middle.ext -out middle.pem",
    );
    openssl(&format!("req {key} -keyout leaf.key -out leaf.csr -subj /CN=mail.example.com"));
    openssl(
        "x509 -req -in leaf.csr -CA middle.pem -CAkey middle.key -CAcreateserial -days 90 -extfile leaf.ext -out leaf.pem",
    );
    let der = ca.run(&["x509", "-in", "middle.pem", "-outform", "DER"]);
    (Made { certificate: ca.text("leaf.pem"), key: ca.text("leaf.key") }, der)
}

fn inside() {
    let ca = Ca::new();
    let (made, middle) = below_intermediate(&ca, &format!("http://{ADDRESS}/ca/between.cer"));
    let asked = serve("/ca/between.cer", middle);
    let kube = Kube::new(cluster());
    let ns = namespace(&kube, "fetched");
    let operator = Operator::start(cluster(), &[&ns], &["--import-fetch-issuers"]);
    let stage = Stage { kube, ns, operator };
    let files = |made: &Made, name: &str| {
        put(&stage, name, &[("tls.crt", made.certificate.as_bytes()), ("tls.key", made.key.as_bytes())]);
    };
    files(&made, "mail-source");
    let import = |name: &str, fetch: bool| {
        let import = json!({"secretRef": {"name": format!("{name}-source")}, "trustAnchors": ca.root(),
            "fetchMissingIssuers": fetch});
        stage.create("MailCertificate", name, &json!({"import": import, "secretName": format!("{name}-tls")}));
        Path::certificate(&stage.ns, name)
    };
    let at = import("mail", false);
    let says = |at: &Path, words: &str| {
        let object = wait_for_object(&stage.kube, at, &format!("to say {words}"), |o| o.to_string().contains(words));
        assert_eq!(condition(&object, "Ready").unwrap().1, "ImportInvalid");
    };
    says(&at, &format!("it can be had at http://{ADDRESS}/ca/between.cer"));
    assert_eq!(asked.lock().unwrap().len(), 0, "nothing is fetched unasked");

    stage.kube.patch(&at, &json!({"spec": {"import": {"fetchMissingIssuers": true}}})).unwrap();
    let object = wait_active(&stage, &at, &made, &ca);
    let chain = crate::common::data(&stage.secret("mail-tls"))["tls.crt"].clone();
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2, "{chain}");
    let found: Vec<&str> =
        object["status"]["findings"].as_array().unwrap().iter().map(|f| f["reason"].as_str().unwrap()).collect();
    assert!(found.contains(&"ChainCompleted"), "{found:?}");
    let requests = asked.lock().unwrap().clone();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(
        requests[0].contains(&format!("host: {ADDRESS}\r\n")) && requests[0].contains("user-agent: mailcert/"),
        "{requests:?}"
    );

    // What is not there, and what is inside, is told and not used.
    for (name, url, why) in [
        (
            "gone",
            format!("http://{ADDRESS}/gone.cer"),
            "answers with status 404 instead of 200; redirects are not followed",
        ),
        (
            "trap",
            "http://127.0.0.1/ca/between.cer".to_owned(),
            "127.0.0.1 leads to an address inside this network, which is never asked",
        ),
        ("secure", format!("https://{ADDRESS}/ca/between.cer"), "its address is not a plain http URL on port 80"),
    ] {
        files(&below_intermediate(&ca, &url).0, &format!("{name}-source"));
        says(&import(name, true), why);
    }
}
