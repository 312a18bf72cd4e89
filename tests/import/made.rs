//! Files that OpenSSL, keytool and NSS make here and now, in every way that they are made in practice.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::ground::{check_page, import, must, outcome, run, without};

/// A folder with `ca.pem`, `mail.pem` and `mail.key` (RSA).
fn pair() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| must(folder.path(), "openssl", &arguments.split(' ').collect::<Vec<_>>());
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=Made",
    );
    openssl("req -newkey rsa:2048 -nodes -keyout mail.key -out mail.csr -subj /CN=mail.example.com");
    fs::write(folder.path().join("ext"), "subjectAltName=DNS:mail.example.com\nbasicConstraints=CA:FALSE\n").unwrap();
    openssl("x509 -req -in mail.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 20 -extfile ext -out mail.pem");
    folder
}

/// Makes each file with `program` and writes a line of the table for it.
fn table(folder: &Path, program: &str, files: &[(&str, &str, Option<&str>)]) -> String {
    let mut text = String::new();
    for (name, command, password) in files {
        let words: Vec<&str> = command.split(' ').collect();
        must(folder, program, &words);
        let bytes = fs::read(folder.join(name)).unwrap();
        let (imported, findings) = import(&[(name, &bytes)], *password);
        let result = outcome(&imported, &findings);
        if let Some(key) = imported.key.as_ref().filter(|_| !result.starts_with("refused")) {
            // What was read is the key that was written.
            let own = fs::read(folder.join("mail.key")).unwrap();
            if name.starts_with("rsa") || name.ends_with("p12") && program == "openssl" {
                assert_eq!(key.spki_der(), import(&[("k", &own)], None).0.key.unwrap().spki_der(), "{name}");
            }
        }
        let password = password.map_or("none", |p| if p.is_empty() { "empty" } else { p });
        text.push_str(&format!("| `{program} {command}` | {password} | {result} |\n"));
        if let Some(right) = Some(password).filter(|p| *p == "secret" && result.starts_with("imports")) {
            assert_told_apart(name, &bytes, right);
        }
    }
    text
}

/// No password and a wrong one are told apart, and neither finding holds the right one.
fn assert_told_apart(name: &str, bytes: &[u8], right: &str) {
    for (given, wanted) in [(None, "PasswordMissing"), (Some("wrong"), "PasswordWrong")] {
        let (imported, findings) = import(&[(name, bytes)], given);
        assert!(findings.iter().any(|f| f.code == wanted), "{name} with {given:?}: {findings:?}");
        assert!(imported.key.is_none() && !format!("{findings:?}").contains(right));
    }
}

const HEAD: &str = "| made with | password | result |\n|---|---|---|\n";

#[test]
fn what_openssl_makes() {
    if without("openssl") {
        return;
    }
    let folder = pair();
    let export = "pkcs12 -export -inkey mail.key -in mail.pem -certfile ca.pem -name mail";
    let with = |rest: &str| format!("{export} {rest}");
    let stores = [
        ("a.p12", with("-passout pass:secret -out a.p12"), Some("secret")),
        ("b.p12", with("-legacy -passout pass:secret -out b.p12"), Some("secret")),
        (
            "c.p12",
            with("-certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1 -passout pass:secret -out c.p12"),
            Some("secret"),
        ),
        (
            "d.p12",
            with("-legacy -certpbe PBE-SHA1-RC2-128 -keypbe PBE-SHA1-2DES -passout pass:secret -out d.p12"),
            Some("secret"),
        ),
        (
            "e.p12",
            with(
                "-certpbe AES-128-CBC -keypbe AES-192-CBC -macalg sha512 -iter 100000 -passout pass:secret -out e.p12",
            ),
            Some("secret"),
        ),
        ("f.p12", with("-nomac -passout pass:secret -out f.p12"), Some("secret")),
        ("g.p12", with("-keypbe NONE -certpbe NONE -passout pass:secret -out g.p12"), Some("secret")),
        ("h.p12", with("-keypbe NONE -certpbe NONE -nomac -passout pass: -out h.p12"), None),
        ("i.p12", with("-passout pass: -out i.p12"), None),
        ("j.p12", with("-legacy -passout pass: -out j.p12"), Some("")),
        ("k.p12", with("-passout pass:pässwörd -out k.p12"), Some("pässwörd")),
        (
            "l.p12",
            with("-legacy -certpbe PBE-SHA1-RC4-128 -keypbe PBE-SHA1-RC4-128 -passout pass:secret -out l.p12"),
            Some("secret"),
        ),
    ];
    let stores: Vec<(&str, &str, Option<&str>)> = stores.iter().map(|(n, c, p)| (*n, c.as_str(), *p)).collect();
    let keys = [
        ("rsa.pk1", "rsa -in mail.key -traditional -out rsa.pk1", None),
        ("rsa.der", "rsa -in mail.key -traditional -outform DER -out rsa.der", None),
        ("rsa.p8", "pkcs8 -topk8 -nocrypt -in mail.key -outform DER -out rsa.p8", None),
        ("ec.sec1", "ecparam -name secp384r1 -genkey -out ec.sec1", None),
        ("ed.pem", "genpkey -algorithm ed25519 -out ed.pem", None),
        ("rsa.aes", "pkcs8 -topk8 -in mail.key -v2 aes-256-cbc -passout pass:secret -out rsa.aes", Some("secret")),
        (
            "rsa.des",
            "pkcs8 -topk8 -in mail.key -v2 des3 -v2prf hmacWithSHA1 -passout pass:secret -out rsa.des",
            Some("secret"),
        ),
        ("rsa.scrypt", "pkcs8 -topk8 -in mail.key -scrypt -passout pass:secret -out rsa.scrypt", Some("secret")),
        (
            "rsa.v1",
            "pkcs8 -topk8 -in mail.key -v1 PBE-SHA1-3DES -passout pass:secret -outform DER -out rsa.v1",
            Some("secret"),
        ),
        (
            "md5.v1",
            "pkcs8 -topk8 -in mail.key -v1 PBE-MD5-DES -provider legacy -provider default -passout pass:secret -out md5.v1",
            Some("secret"),
        ),
        ("rsa.old", "rsa -in mail.key -aes256 -traditional -passout pass:secret -out rsa.old", Some("secret")),
        ("k1.pem", "ecparam -name secp256k1 -genkey -out k1.pem", None),
        ("text.pem", "x509 -in mail.pem -text -out text.pem", None),
        ("nodes.pem", "pkcs12 -in a.p12 -passin pass:secret -nodes -out nodes.pem", None),
        ("p7.pem", "crl2pkcs7 -nocrl -certfile mail.pem -out p7.pem", None),
    ];
    let text = table(folder.path(), "openssl", &stores) + &table(folder.path(), "openssl", &keys);
    check_page("OpenSSL", &format!("{HEAD}{text}"));
}

#[test]
fn what_keytool_makes() {
    if without("keytool") || without("openssl") {
        return;
    }
    let folder = pair();
    let generate = "-genkeypair -alias mail -dname CN=mail.example.com -storepass secret -keyalg";
    let files = [
        ("a.p12", format!("{generate} EC -groupname secp256r1 -storetype PKCS12 -keystore a.p12"), Some("secret")),
        (
            "b.p12",
            format!("-J-Dkeystore.pkcs12.legacy {generate} RSA -keysize 2048 -storetype PKCS12 -keystore b.p12"),
            Some("secret"),
        ),
        (
            "c.p12",
            "-importcert -noprompt -alias ca -file ca.pem -storepass secret -storetype PKCS12 -keystore c.p12"
                .to_owned(),
            Some("secret"),
        ),
        (
            "d.jks",
            format!("{generate} RSA -keysize 2048 -keypass secret -storetype JKS -keystore d.jks"),
            Some("secret"),
        ),
    ];
    let files: Vec<(&str, &str, Option<&str>)> = files.iter().map(|(n, c, p)| (*n, c.as_str(), *p)).collect();
    check_page("keytool", &format!("{HEAD}{}", table(folder.path(), "keytool", &files)));
}

#[test]
fn what_nss_makes() {
    if without("pk12util") || without("certutil") || without("openssl") {
        return;
    }
    let folder = pair();
    must(
        folder.path(),
        "openssl",
        &"pkcs12 -export -inkey mail.key -in mail.pem -certfile ca.pem -name mail -passout pass:secret -out in.p12"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    fs::create_dir(folder.path().join("db")).unwrap();
    must(folder.path(), "certutil", &["-N", "-d", "sql:db", "--empty-password"]);
    must(folder.path(), "pk12util", &["-i", "in.p12", "-d", "sql:db", "-W", "secret", "-K", ""]);
    let mut text = HEAD.to_owned();
    for (name, ciphers, password) in [
        ("a.p12", &[][..], "secret"),
        (
            "b.p12",
            &[
                "-c",
                "PKCS #12 V2 PBE With SHA-1 And 3KEY Triple DES-CBC",
                "-C",
                "PKCS #12 V2 PBE With SHA-1 And 40 Bit RC2 CBC",
            ],
            "secret",
        ),
    ] {
        let fixed = ["-o", name, "-n", "mail", "-d", "sql:db", "-W", password, "-K", ""];
        let (well, said) = run(folder.path(), "pk12util", &[&fixed, ciphers].concat());
        assert!(well, "{said}");
        let bytes = fs::read(folder.path().join(name)).unwrap();
        assert_eq!(bytes[..2], [0x30, 0x80], "NSS writes BER");
        let (imported, findings) = import(&[(name, &bytes)], Some(password));
        let own = fs::read(folder.path().join("mail.key")).unwrap();
        let key = imported.key.as_ref().map(|k| k.spki_der().to_vec());
        assert_eq!(key, import(&[("k", &own)], None).0.key.map(|k| k.spki_der().to_vec()), "{findings:?}");
        let shown: Vec<String> =
            ciphers.iter().map(|c| if c.starts_with('-') { (*c).to_owned() } else { format!("\"{c}\"") }).collect();
        let command = format!("pk12util -o {name} -n mail {}", shown.join(" "));
        text.push_str(&format!("| `{}` | {password} | {} |\n", command.trim(), outcome(&imported, &findings)));
    }
    check_page("NSS", &text);
}
