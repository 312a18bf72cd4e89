//! Programs of others that judge TLSA records (DANE): NLnet Labs' `ldns-dane`, GnuTLS' `danetool` and Postfix'
//! `posttls-finger`, alone or second by second.

use crate::{
    error::{Context, Error, Result},
    packages,
};
use std::{
    fmt, fs,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};
use tempfile::TempDir;

/// How long a program may take, in seconds.
const LIMIT: &str = "15";
/// The exit status of `timeout` when it has ended a program.
const TIMED_OUT: i32 = 124;
/// How often a program is asked that says nothing in time.
const TRIES: usize = 4;
/// Where Debian's danetool looks for the key that trust begins at.
const ROOT_KEY: &str = "/usr/share/dns/root.key";

/// What a program says of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What it serves is what its TLSA records say, and these are signed.
    Valid,
    /// It is not, or could not be found out: the program's words.
    Invalid(String),
}

impl Verdict {
    /// Whether it is [`Verdict::Valid`].
    pub fn is_valid(&self) -> bool {
        *self == Self::Valid
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid => f.write_str("valid"),
            Self::Invalid(words) => write!(f, "invalid: {words}"),
        }
    }
}

/// A program that judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `ldns-dane`, for servers that speak TLS from the first byte.
    LdnsDane,
    /// `danetool`, for the same.
    Danetool,
    /// `danetool`, for SMTP servers with STARTTLS.
    DanetoolSmtp,
    /// `posttls-finger`, for SMTP servers with STARTTLS.
    Posttls,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LdnsDane => "ldns-dane",
            Self::Danetool | Self::DanetoolSmtp => "danetool",
            Self::Posttls => "posttls-finger",
        })
    }
}

/// What came of asking a program.
enum Answer {
    Good,
    Bad(String),
    /// It was ended before it said anything: what it had printed.
    Late(String),
}

/// The programs, with the resolver and the root key that they believe. The servers' addresses come from DNS too.
#[derive(Debug)]
pub struct Judges {
    resolver: SocketAddr,
    dir: TempDir,
}

impl Judges {
    /// With a resolver that listens on port 53 and hands on signatures ([`crate::Bind::resolver`]), and the root's key as
    /// a line of a zone file ([`crate::Bind::anchor`]). Needs root, and the packages [`packages::DANE`].
    pub fn new(resolver: SocketAddr, anchor: &str) -> Result<Self> {
        packages::require(&packages::DANE)?;
        if resolver.port() != 53 {
            return Err(Error::new(format!("the programs ask resolvers at port 53, and {resolver} is at another")));
        }
        let dir = tempfile::tempdir().context(|| "cannot create a temporary folder".to_owned())?;
        let files = [
            ("resolv.conf", format!("nameserver {}\noptions edns0 trust-ad\n", resolver.ip())),
            ("root.key", format!("{anchor}\n")),
        ];
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::write(&path, text).context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Self { resolver, dir })
    }

    /// What a program says of a port of a host. One that says nothing in time, on a machine that does much else, is asked
    /// again.
    pub fn judge(&self, program: Program, host: &str, port: u16) -> Verdict {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.ask(program, host, port) {
                Ok(Answer::Good) => return Verdict::Valid,
                Ok(Answer::Bad(text)) => return Verdict::Invalid(text),
                Ok(Answer::Late(text)) => last = text,
                Err(error) => return Verdict::Invalid(error.to_string()),
            }
        }
        Verdict::Invalid(format!("{program} came to no end within {LIMIT} s, {TRIES} times: {last}"))
    }

    /// Asks the program once.
    fn ask(&self, program: Program, host: &str, port: u16) -> Result<Answer> {
        let port = port.to_string();
        let resolver = self.resolver.ip().to_string();
        let at = format!("[{host}]:{port}");
        let danetool = ["danetool", "--local-dns", "--check", host, "--port", &port];
        let (words, sign) = match program {
            Program::LdnsDane => {
                let words = vec!["ldns-dane", "-4", "-T", "-r", &resolver, "verify", host, &port];
                (words, "dane-validated successfully")
            }
            Program::Danetool => (danetool.to_vec(), "Verification: Certificate matches."),
            Program::DanetoolSmtp => {
                ([&danetool[..], &["--starttls-proto", "smtp"]].concat(), "Verification: Certificate matches.")
            }
            Program::Posttls => {
                (vec!["posttls-finger", "-c", "-l", "dane-only", &at], "Verified TLS connection established")
            }
        };
        // In a mount namespace of its own, where the system's resolver and root key are those.
        let bind = |name: &str, over: &str| format!("mount --bind '{}/{name}' {over}", self.dir.path().display());
        let script = format!(
            "{} && {{ [ ! -e {ROOT_KEY} ] || {}; }} && exec timeout {LIMIT} \"$@\"",
            bind("resolv.conf", "/etc/resolv.conf"),
            bind("root.key", ROOT_KEY)
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, "judge"]).args(words).stdin(Stdio::null());
        // danetool leaves a file where it is when it is ended.
        command.current_dir(self.dir.path()).env("PATH", packages::search_path());
        let output = command.output();
        let output = output.context(|| format!("cannot run {program}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let all = format!("{}\n{}", text(&output.stdout), text(&output.stderr)).trim().to_owned();
        Ok(match output.status.code() {
            _ if all.contains(sign) => Answer::Good,
            Some(TIMED_OUT) => Answer::Late(all),
            _ => Answer::Bad(all),
        })
    }

    /// Has everything in `asked` judged, one after the other, once in each `interval`, until [`Watch::end`].
    pub fn watch(self, asked: Vec<(Program, String, u16)>, interval: Duration) -> Watch {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut all = Vec::new();
            loop {
                let begun = Instant::now();
                for (program, host, port) in &asked {
                    let at = SystemTime::now();
                    let verdict = self.judge(*program, host, *port);
                    all.push(Judgement { at, program: *program, port: *port, verdict });
                }
                let rest = interval.saturating_sub(begun.elapsed());
                if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                    return all;
                }
            }
        });
        Watch { stop, thread }
    }
}

/// One judgement of a [`Watch`].
#[derive(Clone, Debug)]
pub struct Judgement {
    /// When the program began to look.
    pub at: SystemTime,
    /// Which.
    pub program: Program,
    /// Of which port.
    pub port: u16,
    /// What it said.
    pub verdict: Verdict,
}

/// A thread that has servers judged.
#[derive(Debug)]
pub struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<Vec<Judgement>>,
}

impl Watch {
    /// Ends it. Every judgement, in the order of time.
    ///
    /// # Panics
    /// When the thread has.
    pub fn end(self) -> Vec<Judgement> {
        drop(self.stop);
        self.thread.join().expect("the judging thread runs to its end")
    }
}
