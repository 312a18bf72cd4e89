//! The demo's ground: a node that stays, an ACME server, and a mail server behind one external address.

use mailcert_testenv::{Cluster, MAIL_MANIFEST, Options, Pebble, PebbleOptions, Result, images};
use std::{net::Ipv4Addr, path::Path};

/// The mail server's external address inside the namespace.
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(10, 210, 0, 10);

/// Starts it in `dir` with the operator's `binary` as the image `localhost/mailcert:1`. The mail pods wait for their
/// Secret `mail-tls`, which is the operator's work.
pub fn up(dir: &Path, binary: &Path) -> Result<()> {
    let (mail, operator) = (images::mail()?, images::operator(binary)?);
    let cluster = Cluster::up_detached(dir, &Options { node: true, ..Options::default() })?;
    cluster.load_image(&mail)?;
    cluster.load_image(&operator)?;
    let acme = Pebble::start_in(&cluster, &PebbleOptions::default())?;
    cluster.dns()?.set_a("mail.example.com", EXTERNAL)?;
    cluster.apply(MAIL_MANIFEST)?;
    cluster.set_load_balancer_ip("default", "mail", EXTERNAL)?;
    println!("ACME directory  {} (CA: {})", acme.directory_url(), cluster.dir().join("acme/ca.crt").display());
    println!("mail server     mail.example.com at {EXTERNAL}, Secret mail-tls");
    println!("look around     testenv exec {} kubectl get pods", dir.display());
    Ok(())
}
