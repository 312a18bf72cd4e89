//! BIND 9: real authoritative servers, a primary and if wanted a secondary, which take updates signed with TSIG.
//!
//! They listen on port 53, where every other server looks for them, at loopback addresses of their own.

mod signed;

use crate::{
    cache,
    error::{Context, Error, Result},
    instance::Instance,
    packages,
};
use std::{
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    process::{Command, Stdio},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Who may change anything: for the tests themselves.
const ADMIN: &str = "admin";
const SHA256: &str = "hmac-sha256";

/// What BIND serves.
#[derive(Clone, Debug, Default)]
pub struct BindOptions {
    /// The zones of the primary server.
    pub zones: Vec<BindZone>,
    /// Whether there is a secondary server too, which is then an authoritative server of every zone.
    pub secondary: bool,
    /// Whether the primary tells the secondary of changes. Without that, it learns of them by [`Bind::transfer`] only.
    pub notify: bool,
}

/// One zone.
#[derive(Clone, Debug)]
pub struct BindZone {
    apex: String,
    records: String,
    policy: String,
    signing: Signing,
}

/// Whether a zone is signed (DNSSEC). As soon as one is, the root is too, and [`Bind::anchor`] is its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signing {
    /// It is not.
    No,
    /// It is, and the root has its DS record.
    Yes,
    /// It is, and the root has a DS record of another key.
    Broken,
}

impl BindZone {
    /// A zone with an SOA, NS records `ns1` (and `ns2` for the secondary), and their addresses. The keys of
    /// [`Bind::key`] may update every TXT and TLSA record in it.
    pub fn new(apex: &str) -> Self {
        let grant = |algorithm: &str| format!("grant {} zonesub TXT TLSA; ", key_name(algorithm));
        Self {
            apex: apex.to_owned(),
            records: String::new(),
            policy: ALGORITHMS.iter().map(|algorithm| grant(algorithm)).collect(),
            signing: Signing::No,
        }
    }

    /// Signed, with a chain of trust from the root.
    pub fn signed(self) -> Self {
        Self { signing: Signing::Yes, ..self }
    }

    /// Signed with a key that the DS record in the root does not name: bogus.
    pub fn broken(self) -> Self {
        Self { signing: Signing::Broken, ..self }
    }

    /// With more records, as lines of a zone file: `mail A 192.0.2.1`.
    pub fn records(self, lines: &str) -> Self {
        Self { records: format!("{}{lines}\n", self.records), ..self }
    }

    /// With another `update-policy` in place of the usual one.
    pub fn policy(self, rules: &str) -> Self {
        Self { policy: rules.to_owned(), ..self }
    }
}

/// The algorithms for which [`Bind::key`] has a key.
pub const ALGORITHMS: [&str; 3] = [SHA256, "hmac-sha384", "hmac-sha512"];

fn key_name(algorithm: &str) -> String {
    format!("mailcert-{}", algorithm.trim_start_matches("hmac-"))
}

/// Running name servers. They end with this value, or with this process at the latest.
#[derive(Debug)]
pub struct Bind {
    instance: Instance,
    primary: Address,
    secondary: Option<Address>,
    /// Those of other servers.
    others: Vec<Address>,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    name: String,
    algorithm: &'static str,
    secret: String,
}

impl Bind {
    /// [`Bind::start`], or `None` with a message where this machine cannot have it.
    ///
    /// # Panics
    /// With `CI=true` in place of that message, and when it does not come up.
    pub fn start_or_skip(options: &BindOptions) -> Option<Self> {
        if let Err(error) = packages::require(&packages::BIND) {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI=true and no BIND: {error}");
            eprintln!("skipped, since it needs BIND: {error}");
            return None;
        }
        Some(Self::start(options).unwrap_or_else(|error| panic!("{error}")))
    }

    /// Starts it. Needs root, for port 53.
    pub fn start(options: &BindOptions) -> Result<Self> {
        packages::require(&packages::BIND)?;
        let instance = Instance::temporary()?;
        let primary = claim(&instance)?;
        let secondary = if options.secondary { Some(claim(&instance)?) } else { None };
        let mut keys = Vec::new();
        for (name, algorithm) in ALGORITHMS.map(|algorithm| (key_name(algorithm), algorithm)) {
            keys.push(generate(name, algorithm)?);
        }
        keys.push(generate(ADMIN.to_owned(), SHA256)?);
        let bind = Self { instance, primary, secondary, others: Vec::new(), keys };
        bind.serve("primary", bind.primary.ip, "yes", &bind.primary_zones(options)?)?;
        if let Some(secondary) = &bind.secondary {
            bind.serve("secondary", secondary.ip, "no", &bind.secondary_zones(options)?)?;
        }
        // A zone that is being signed changes all the while.
        let ready = || options.zones.iter().all(|zone| zone.signing != Signing::No || bind.in_step(&zone.apex));
        bind.instance.wait("BIND", LIMIT, ready)?;
        if options.is_signed() {
            bind.delegate(options)?;
        }
        Ok(bind)
    }

    /// The primary server. It answers for its zones, says of every other name that it does not exist, and follows
    /// aliases among its zones, so that it can be a resolver too.
    pub fn address(&self) -> SocketAddr {
        (self.primary.ip, 53).into()
    }

    /// The secondary server. It answers for its zones only.
    ///
    /// # Panics
    /// When it was started without one.
    pub fn secondary(&self) -> SocketAddr {
        (self.secondary.as_ref().expect("it was started with a secondary server").ip, 53).into()
    }

    /// The name and the secret (base64) of the key for one of [`ALGORITHMS`].
    ///
    /// # Panics
    /// For another algorithm.
    pub fn key(&self, algorithm: &str) -> (String, String) {
        let key = self.keys.iter().find(|key| key.algorithm == algorithm).expect("an algorithm of ALGORITHMS");
        (key.name.clone(), key.secret.clone())
    }

    /// Adds a record to the primary: `mail.example.test. 60 A 192.0.2.1`.
    pub fn add_record(&self, record: &str) -> Result<()> {
        self.update(&format!("add {record}"))
    }

    /// The values of the TXT records that the primary has at a name.
    pub fn txt(&self, name: &str) -> Result<Vec<String>> {
        let mut command = Command::new("dig");
        command.args(["+short", "+norecurse", "+tries=1", name, "TXT"]).arg(format!("@{}", self.primary.ip));
        let found = run(command, "")?;
        Ok(found.lines().map(|line| line.trim_matches('"').to_owned()).collect())
    }

    /// Any update of the primary, in nsupdate's words.
    pub fn update(&self, lines: &str) -> Result<()> {
        let admin = self.keys.iter().find(|key| key.name == ADMIN).expect("made at the start");
        let mut command = Command::new("nsupdate");
        command.arg("-y").arg(format!("{}:{}:{}", admin.algorithm, admin.name, admin.secret));
        run(command, &format!("server {}\n{lines}\nsend\n", self.primary.ip)).map(drop)
    }

    /// Makes the secondary fetch the zone, and waits until it has what the primary has.
    pub fn transfer(&self, apex: &str) -> Result<()> {
        self.tell(apex)?;
        self.instance.wait(&format!("the transfer of {apex}"), LIMIT, || self.in_step(apex))
    }

    /// Tells the secondary that a zone has changed.
    fn tell(&self, apex: &str) -> Result<()> {
        let secondary = self.secondary();
        let mut tell = Command::new("dig");
        // As the primary does itself when `notify` is on; the secondary takes it from nobody else.
        tell.args(["+opcode=notify", "+norecurse", "+tries=1", "-b"]).arg(self.primary.ip.to_string());
        tell.arg(format!("@{}", secondary.ip())).args([apex, "SOA"]);
        run(tell, "").map(drop)
    }

    fn in_step(&self, apex: &str) -> bool {
        let serial = |at: &Address| {
            let mut command = Command::new("dig");
            command.args(["+short", "+norecurse", "+tries=1", "+time=2", apex, "SOA"]).arg(format!("@{}", at.ip));
            run(command, "").ok().filter(|soa| soa.split_whitespace().count() == 7)
        };
        let at_primary = serial(&self.primary);
        at_primary.is_some() && self.secondary.as_ref().is_none_or(|secondary| serial(secondary) == at_primary)
    }

    fn serve(&self, name: &str, ip: Ipv4Addr, recursion: &str, zones: &str) -> Result<()> {
        let dir = self.instance.dir().join(name);
        fs::create_dir_all(&dir).context(|| format!("cannot create {}", dir.display()))?;
        let keys: String = self
            .keys
            .iter()
            .map(|key| format!("key \"{}\" {{ algorithm {}; secret \"{}\"; }};\n", key.name, key.algorithm, key.secret))
            .collect();
        let folder = dir.display();
        let config = format!(
            "options {{ directory \"{folder}\"; listen-on port 53 {{ {ip}; }}; listen-on-v6 {{ none; }};\n\
             pid-file none; lock-file none; session-keyfile \"{folder}/session.key\"; empty-zones-enable no;\n\
             dnssec-validation no; query-source address {ip}; transfer-source {ip}; notify-source {ip};\n\
             allow-query {{ any; }}; recursion {recursion}; minimal-responses yes; }};\n\
             controls {{ }};\n{}{keys}{zones}",
            signed::POLICIES
        );
        let path = dir.join("named.conf");
        fs::write(&path, config).context(|| format!("cannot write {}", path.display()))?;
        let mut command = Command::new(self.program()?);
        command.args(["-g", "-n", "1", "-c"]).arg(path);
        self.instance.serve(name, command)
    }

    /// A copy of the server's binary: where AppArmor guards it, its profile knows it by its path and would forbid our
    /// folders.
    fn program(&self) -> Result<std::path::PathBuf> {
        let copy = self.instance.dir().join("named");
        if !copy.exists() {
            let installed = packages::find("named").ok_or_else(|| Error::new("named is not installed"))?;
            // Not by this process: what another thread starts meanwhile would hold the copy open for writing, and then
            // it cannot be executed.
            let mut command = Command::new("cp");
            command.arg(installed).arg(&copy);
            run(command, "")?;
        }
        Ok(copy)
    }

    fn primary_zones(&self, options: &BindOptions) -> Result<String> {
        let dir = self.instance.dir().join("primary");
        fs::create_dir_all(&dir).context(|| format!("cannot create {}", dir.display()))?;
        let notify = if options.notify { "explicit" } else { "no" };
        let also = self.secondary.as_ref().map_or(String::new(), |secondary| format!("{};", secondary.ip));
        let mut config = String::new();
        // The root, so that nothing is ever asked of anybody else.
        let signing = if options.is_signed() { Signing::Yes } else { Signing::No };
        let root = BindZone { apex: ".".into(), records: String::new(), policy: String::new(), signing };
        for (number, zone) in options.zones.iter().chain([&root]).enumerate() {
            let file = dir.join(format!("{number}.zone"));
            fs::write(&file, self.zone_file(zone)).context(|| format!("cannot write {}", file.display()))?;
            config.push_str(&format!(
                "zone \"{}\" {{ type primary; file \"{}\"; notify {notify}; also-notify {{ {also} }};\n{}\
                 update-policy {{ grant {ADMIN} zonesub ANY; {} }}; }};\n",
                zone.apex,
                file.display(),
                if zone.signing == Signing::No { "" } else { signed::POLICY },
                zone.policy
            ));
        }
        Ok(config)
    }

    fn secondary_zones(&self, options: &BindOptions) -> Result<String> {
        let dir = self.instance.dir().join("secondary");
        let primary = self.primary.ip;
        let zone = |(number, zone): (usize, &BindZone)| {
            format!(
                "zone \"{}\" {{ type secondary; primaries {{ {primary}; }}; file \"{}/{number}.zone\"; notify no; }};\n",
                zone.apex,
                dir.display()
            )
        };
        Ok(options.zones.iter().enumerate().map(zone).collect())
    }

    /// Times of one second, so that nothing that was once absent stays so in anybody's memory.
    fn zone_file(&self, zone: &BindZone) -> String {
        let apex = if zone.apex == "." { "." } else { &format!("{}.", zone.apex) };
        let mut text = format!(
            "$ORIGIN {apex}\n$TTL 1\n@ SOA ns1 hostmaster 1 3600 3600 86400 1\n@ NS ns1\nns1 A {}\n",
            self.primary.ip
        );
        if let (Some(secondary), false) = (&self.secondary, apex == ".") {
            text.push_str(&format!("@ NS ns2\nns2 A {}\n", secondary.ip));
        }
        text + &zone.records
    }
}

/// An address of this machine whose port 53 is ours while this value lives.
#[derive(Debug)]
struct Address {
    ip: Ipv4Addr,
    _lock: File,
}

fn claim(instance: &Instance) -> Result<Address> {
    let folder = cache::dir().join("addresses");
    fs::create_dir_all(&folder).context(|| format!("cannot create {}", folder.display()))?;
    let mut refused = String::new();
    for step in 0..100u32 {
        let [second, third, fourth, ..] = RandomState::new().hash_one(step).to_le_bytes();
        let ip = Ipv4Addr::new(127, 64 + second % 128, third, 1 + fourth % 254);
        let path = folder.join(ip.to_string());
        let lock = File::create(&path).context(|| format!("cannot create {}", path.display()))?;
        if lock.try_lock().is_err() {
            continue;
        }
        match UdpSocket::bind((ip, 53)).and_then(|_| TcpListener::bind((ip, 53))) {
            Ok(_) => {
                add(instance, ip)?;
                return Ok(Address { ip, _lock: lock });
            }
            Err(error) => refused = error.to_string(),
        }
    }
    Err(Error::new(format!("no address in 127.0.0.0/8 has its port 53 free: {refused}")))
}

/// Gives the loopback interface the address: named listens only at those that an interface has by name, though all of
/// 127.0.0.0/8 leads there. The reaper takes away what is in the file.
fn add(instance: &Instance, ip: Ipv4Addr) -> Result<()> {
    let path = instance.dir().join("loopback");
    let note = OpenOptions::new().create(true).append(true).open(&path).and_then(|mut file| writeln!(file, "{ip}"));
    note.context(|| format!("cannot write {}", path.display()))?;
    let mut command = Command::new("ip");
    command.args(["address", "replace", &format!("{ip}/32"), "dev", "lo"]);
    run(command, "").map(drop)
}

fn generate(name: String, algorithm: &'static str) -> Result<Key> {
    let mut command = Command::new("tsig-keygen");
    command.args(["-a", algorithm, &name]);
    let text = run(command, "")?;
    let secret = text.split_once("secret \"").and_then(|(_, rest)| rest.split_once('"')).map(|(secret, _)| secret);
    let secret = secret.ok_or_else(|| Error::new("tsig-keygen printed no secret"))?.to_owned();
    Ok(Key { name, algorithm, secret })
}

/// Runs a program of BIND's with `input`, and returns what it prints.
fn run(mut command: Command, input: &str) -> Result<String> {
    let what = command.get_program().to_string_lossy().into_owned();
    command.env("PATH", packages::search_path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context(|| format!("cannot start {what}"))?;
    let mut stdin = child.stdin.take();
    let written = stdin.as_mut().map(|pipe| pipe.write_all(input.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().context(|| format!("cannot wait for {what}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match (output.status.success(), written) {
        (true, Some(Ok(())) | None) => Ok(text),
        _ => Err(Error::new(format!("{what}: {}{text}", String::from_utf8_lossy(&output.stderr)))),
    }
}
