//! The command `mailcert inspect`: exit statuses, both outputs, and no password in any of them.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use crate::ground::{must, without};

pub struct Files(TempDir);

impl Files {
    /// `ca.pem`, and a pair below it for mail.example.com, in PEM and as `mail.p12` with the password `Hidden-42`.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Self(folder);
        files.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 300 -subj /CN=Inspect");
        files.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout mail.key -out mail.csr -subj /CN=mail.example.com");
        files.write(
            "ext",
            "subjectAltName=DNS:mail.example.com\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n",
        );
        files.openssl(
            "x509 -req -in mail.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 200 -extfile ext -out mail.pem",
        );
        files.openssl(
            "pkcs12 -export -inkey mail.key -in mail.pem -certfile ca.pem -passout pass:Hidden-42 -out mail.p12",
        );
        files.write("password", "Hidden-42\n");
        files.write("wrong", "Wrong-43\n");
        files
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    pub fn openssl(&self, arguments: &str) {
        must(self.0.path(), "openssl", &arguments.split(' ').collect::<Vec<_>>());
    }

    /// The exit status and both outputs of `mailcert inspect`.
    fn inspect(&self, arguments: &str) -> (i32, String) {
        let (status, out, err) = self.mailcert(&format!("inspect {arguments}"));
        for key in ["mail.key", "ca.key"] {
            let key = fs::read_to_string(self.0.path().join(key)).unwrap();
            assert!(
                key.lines().skip(1).take(2).all(|line| !out.contains(line) && !err.contains(line)),
                "a key: {out}{err}"
            );
        }
        (status, out + &err)
    }

    /// The exit status and the outputs of a command that knows no cluster.
    pub fn mailcert(&self, arguments: &str) -> (i32, String, String) {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_mailcert"))
            .args(arguments.split(' '))
            .current_dir(self.0.path())
            .env_remove("MAILCERT_KUBECONFIG")
            .env("KUBECONFIG", self.0.path().join("no-such-kubeconfig"))
            .output()
            .unwrap();
        let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        for text in [&out, &err] {
            assert!(!text.contains("Hidden-42") && !text.contains("Wrong-43"), "a password: {text}");
        }
        (status.code().unwrap(), out, err)
    }
}

#[test]
fn a_good_pair_in_files() {
    if without("openssl") {
        return;
    }
    let files = Files::new();
    let (status, text) =
        files.inspect("mail.pem mail.key ca.pem --trust-anchors ca.pem --external-url https://mail.example.com/");
    assert_eq!(status, 0, "{text}");
    for words in [
        "mail.pem, mail.key, ca.pem",
        "names        mail.example.com",
        "ECDSA P-256, private key found",
        "No problem found.",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let (status, text) = files.inspect("mail.p12 --password-file password --trust-anchors ca.pem -o json");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 0, "{text}");
    assert_eq!(json["usable"], true);
    assert_eq!(json["chain"][0]["dnsNames"][0], "mail.example.com");
    assert_eq!(json["key"]["belongsToCertificate"], true);
    assert_eq!(json["ca"][0]["isCA"], true);
    assert_eq!(json["findings"], serde_json::json!([]));
}

#[test]
fn findings_that_would_stop_activation() {
    if without("openssl") {
        return;
    }
    let files = Files::new();
    for (arguments, code) in [
        ("mail.pem mail.key ca.pem", "NotTrusted"),
        ("mail.pem ca.pem --trust-anchors ca.pem", "NoKey"),
        ("mail.pem ca.key ca.pem --trust-anchors ca.pem", "SeveralKeys|KeyMismatch"),
        ("mail.p12 --trust-anchors ca.pem", "PasswordMissing"),
        ("mail.p12 --trust-anchors ca.pem --password-file wrong", "PasswordWrong"),
        (
            "mail.pem mail.key ca.pem --trust-anchors ca.pem --external-url https://webmail.example.com",
            "ExternalURLNotCovered",
        ),
        (
            "mail.pem mail.key ca.pem --trust-anchors ca.pem --name smtp.example.com --name mail.example.com",
            "NameNotCovered",
        ),
    ] {
        let (status, text) = files.inspect(&format!("{arguments} -o json"));
        assert_eq!(status, 1, "{arguments}: {text}");
        let json: Value = serde_json::from_str(&text).unwrap();
        let found: Vec<&str> =
            json["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
        assert!(found.iter().any(|f| code.split('|').any(|c| c == *f)), "{arguments}: {found:?}");
        assert_eq!(json["usable"], false);
        let (status, text) = files.inspect(arguments);
        assert!(status == 1 && text.contains("Not usable: ") && text.contains("ERROR"), "{text}");
    }
}

#[test]
fn what_cannot_be_read() {
    if without("openssl") {
        return;
    }
    let files = Files::new();
    files.write("text", "hello\n");
    files.write("large.p12", &"0".repeat(1024 * 1024 + 2));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap().port();
    drop(listener);
    for (arguments, words) in [
        ("no-such-file", "no-such-file: No such file"),
        ("text", "Unreadable"),
        ("mail.p12 --password-file no-such-file", "no-such-file"),
        ("mail.pem --trust-anchors text", "--trust-anchors text: there is no PEM block"),
        ("mail.pem --external-url http://mail.example.com", "--external-url: the URL does not start with https://"),
        ("secret/mail", "kubeconfig"),
        ("--secret mail --namespace x", "kubeconfig"),
        ("mail.example.com:2525", "--protocol"),
        ("mail.example.com:25 --protocol gopher", "there is no such protocol"),
        (&format!("127.0.0.1:{closed} --protocol imaps"), "refused"),
        ("localhost:99999", "localhost:99999: the port is out of range; ports go from 1 to 65535"),
        ("large.p12", "large.p12: it has more than 1048576 bytes"),
        ("mail.pem --name localhost", "has only one label"),
        ("mail.example.com:25 --fetch-issuers", "--fetch-issuers goes with files and Secrets"),
        ("mail.example.com:25 --password-file password", "--password-file goes with files and Secrets"),
        ("mail.example.com --protocol imaps", "--protocol goes with HOST:PORT"),
        ("-o json", "required"),
    ] {
        let (status, text) = files.inspect(arguments);
        assert_eq!(status, 2, "{arguments}: {text}");
        assert!(text.contains(words), "{arguments}: {text}");
    }
}

/// A server with implicit TLS and this pair, for one connection.
fn serve(files: &Files, pem: &str) -> u16 {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let read = |name: &str| fs::read(files.0.path().join(name)).unwrap();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(pem)).map(|c| c.unwrap()).collect();
    let key = PrivateKeyDer::from_pem_slice(&read("mail.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut connection = rustls::ServerConnection::new(config).unwrap();
        while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        // The client leaves.
        let _ = connection.complete_io(&mut stream);
    });
    port
}

#[test]
fn what_a_server_serves() {
    if without("openssl") {
        return;
    }
    let files = Files::new();
    let port = serve(&files, "mail.pem");
    let (status, text) = files
        .inspect(&format!("127.0.0.1:{port} --protocol https --name mail.example.com --trust-anchors ca.pem -o json"));
    assert_eq!(status, 0, "{text}");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["endpoint"]["tlsVersion"], "TLS 1.3");
    assert_eq!(json["chain"].as_array().unwrap().len(), 1);
    assert!(json.get("key").is_none());
    let port = serve(&files, "mail.pem");
    let (status, text) = files.inspect(&format!("127.0.0.1:{port} --protocol https --name smtp.example.com"));
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("NameNotCovered") && text.contains("ChainIncomplete") && text.contains("served by    127.0.0.1:"),
        "{text}"
    );
}

/// Where all that is known of the server is an address, that is said.
#[test]
fn what_a_server_serves_without_a_name() {
    if without("openssl") {
        return;
    }
    let files = Files::new();
    let note = "no name was checked, since 127.0.0.1 is no DNS name; say with --name which one clients use";
    let port = serve(&files, "mail.pem");
    let (status, text) = files.inspect(&format!("127.0.0.1:{port} --protocol https --trust-anchors ca.pem"));
    assert!(status == 0 && text.contains(&format!("NOTE    {note}\nNo problem found.")), "{text}");
    let port = serve(&files, "mail.pem");
    let (_, text) = files.inspect(&format!("127.0.0.1:{port} --protocol https --trust-anchors ca.pem -o json"));
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["note"], note);
    let port = serve(&files, "mail.pem");
    let url = "--external-url https://mail.example.com";
    let (_, text) = files.inspect(&format!("127.0.0.1:{port} --protocol https --trust-anchors ca.pem {url}"));
    assert!(!text.contains("NOTE"), "{text}");
}

/// An issuer is looked for when asked to, and never inside.
#[test]
fn issuers_are_fetched_when_asked_to() {
    if without("openssl") {
        return;
    }
    let files = Files::new();
    files.write(
        "ext",
        "subjectAltName=DNS:mail.example.com\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n\
         authorityInfoAccess=caIssuers;URI:http://127.0.0.1/ca.der\n",
    );
    files
        .openssl("x509 -req -in mail.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 200 -extfile ext -out aia.pem");
    let fetched = "It could not be fetched: 127.0.0.1 leads to an address inside this network, which is never asked";
    let (status, text) = files.inspect("aia.pem mail.key");
    assert!(status == 1 && text.contains("ChainIncomplete") && !text.contains(fetched), "{text}");
    let (status, text) = files.inspect("aia.pem mail.key --fetch-issuers");
    assert!(status == 1 && text.contains("ChainIncomplete") && text.contains(fetched), "{text}");
    let (status, text) = files.inspect("mail.pem mail.key ca.pem --trust-anchors ca.pem --legacy-name old.example.com");
    assert!(status == 0 && text.contains("WARNING LegacyNameNotCovered"), "{text}");
}
