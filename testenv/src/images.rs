//! OCI archives out of Debian packages and plain files, made without a container engine (umoci, skopeo, debootstrap) and
//! kept in the cache folder.

use crate::{
    cache,
    error::{Context, Error, Result},
    packages,
};
use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The mail image's packages.
const MAIL_PACKAGES: [&str; 9] = [
    "postfix",
    "dovecot-core",
    "dovecot-imapd",
    "dovecot-pop3d",
    "dovecot-lmtpd",
    "dovecot-managesieved",
    "ca-certificates",
    "openssl",
    "procps",
];
/// Debian 12: later ones bring Dovecot 2.4, whose configuration is another language.
const SUITE: &str = "bookworm";
/// To be raised with every change of how images are made.
const RECIPE: &[u8] = b"1";

/// The archive of `localhost/pause:1`, which holds a pod's namespaces. Needs root.
pub fn pause() -> Result<PathBuf> {
    image("pause", &[], |root| {
        let busybox = find("busybox")?;
        copy_with_libraries(&busybox, root, Path::new("/bin/busybox"))?;
        for name in ["sh", "sleep", "cat", "ls", "nc", "wget"] {
            symlink("busybox", root.join("bin").join(name)).context(|| format!("cannot link {name}"))?;
        }
        Ok(["--config.entrypoint=/bin/sleep", "--config.cmd=2147483647"].map(String::from).to_vec())
    })
}

/// The archive of `localhost/mail:1`: a minimal Debian with Postfix and Dovecot. Needs root; takes minutes when it is not
/// in the cache.
pub fn mail() -> Result<PathBuf> {
    let list = MAIL_PACKAGES.join(",");
    image("mail", &[SUITE.as_bytes(), list.as_bytes()], |root| {
        packages::require(&packages::IMAGES)?;
        eprintln!("making the mail image (1 to 4 min)");
        let mut command = Command::new(find("debootstrap")?);
        command.args(["--variant=minbase", &format!("--include={list}"), SUITE]).arg(root).args(mirror());
        run(command)?;
        for unneeded in ["cache/apt", "lib/apt/lists"]
            .map(|p| format!("var/{p}"))
            .into_iter()
            .chain(["doc", "man", "locale", "info"].map(|p| format!("usr/share/{p}")))
        {
            let _ = fs::remove_dir_all(root.join(unneeded));
        }
        Ok(vec!["--config.entrypoint=/bin/sh".to_owned()])
    })
}

/// The archive of `localhost/mailcert:1`: the operator's `binary` and the libraries that it links, to run as a user
/// without rights on a root file system that may be read-only. Needs root.
pub fn operator(binary: &Path) -> Result<PathBuf> {
    let content = fs::read(binary).context(|| format!("cannot read {}", binary.display()))?;
    image("mailcert", &[&content], |root| {
        let stripped = root.join("mailcert");
        copy_with_libraries(binary, root, Path::new("/mailcert"))?;
        // Debug information makes most of a debug build. Without binutils the image is just larger.
        let _ = Command::new("strip").arg("--strip-all").arg(&stripped).stderr(Stdio::null()).status();
        fs::create_dir_all(root.join("etc")).context(|| "cannot create /etc".to_owned())?;
        let passwd = "root:x:0:0::/:/\nmailcert:x:65532:65532::/:/\n";
        fs::write(root.join("etc/passwd"), passwd).context(|| "cannot write /etc/passwd".to_owned())?;
        Ok(["--config.entrypoint=/mailcert", "--config.user=65532:65532"].map(String::from).to_vec())
    })
}

/// The archive of `localhost/NAME:1` for what `fill` puts into the root folder that it is given; `fill` returns the
/// image's configuration as flags of `umoci config`.
fn image(name: &str, content: &[&[u8]], fill: impl FnOnce(&Path) -> Result<Vec<String>>) -> Result<PathBuf> {
    let key = cache::key([name.as_bytes(), RECIPE].into_iter().chain(content.iter().copied()));
    let images = cache::dir().join("images");
    let archive = images.join(format!("{key}.tar"));
    cache::ensure(&archive, |unfinished| {
        // Next to the archive: a temporary folder may be in memory.
        let work = tempfile::tempdir_in(&images).context(|| format!("cannot write to {}", images.display()))?;
        let layout = work.path().join("oci");
        let tagged = format!("{}:1", layout.display());
        let bundle = work.path().join("bundle");
        umoci(&["init", "--layout"], &layout)?;
        umoci(&["new", "--image", &tagged], Path::new(""))?;
        umoci(&["unpack", "--image", &tagged], &bundle)?;
        let flags = fill(&bundle.join("rootfs"))?;
        umoci(&["repack", "--image", &tagged], &bundle)?;
        let mut config = vec!["config", "--image", &tagged];
        config.extend(flags.iter().map(String::as_str));
        umoci(&config, Path::new(""))?;
        let _ = fs::remove_file(unfinished);
        let mut copy = Command::new(find("skopeo")?);
        copy.args(["copy", "-q", &format!("oci:{tagged}")]);
        copy.arg(format!("oci-archive:{}:localhost/{name}:1", unfinished.display()));
        run(copy)
    })?;
    Ok(archive)
}

fn umoci(args: &[&str], path: &Path) -> Result<()> {
    let mut command = Command::new(find("umoci")?);
    command.args(args);
    if path != Path::new("") {
        command.arg(path);
    }
    run(command)
}

fn run(mut command: Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .env("PATH", packages::search_path())
        .stdin(Stdio::null())
        .output()
        .context(|| format!("cannot start {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let end = &said[said.len().saturating_sub(2000)..];
    Err(Error::new(format!("{program} failed ({}): {}", output.status, String::from_utf8_lossy(end).trim())))
}

fn find(program: &str) -> Result<PathBuf> {
    let missing = || Error::new(format!("{program} is not installed (`make packages` installs what is missing)"));
    packages::find(program).ok_or_else(missing)
}

/// Copies `binary` to `to` in `root`, and the libraries that it links to the same paths in `root`.
fn copy_with_libraries(binary: &Path, root: &Path, to: &Path) -> Result<()> {
    let place = |from: &Path, to: &Path| -> Result<()> {
        let target = root.join(to.strip_prefix("/").unwrap_or(to));
        let folder = target.parent().unwrap_or(root);
        fs::create_dir_all(folder).context(|| format!("cannot create {}", folder.display()))?;
        fs::copy(from, &target).map(drop).context(|| format!("cannot copy {}", from.display()))
    };
    place(binary, to)?;
    // It fails for a static binary, which needs nothing.
    let output = Command::new("ldd").arg(binary).output().context(|| "cannot start ldd".to_owned())?;
    let listed = String::from_utf8_lossy(&output.stdout);
    for library in listed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))) {
        place(Path::new(library), Path::new(library))?;
    }
    Ok(())
}

/// The Debian mirror that this machine's apt uses; `$MAILCERT_DEBIAN_MIRROR` overrides it. None leaves the choice to
/// debootstrap.
fn mirror() -> Option<String> {
    if let Ok(given) = env::var("MAILCERT_DEBIAN_MIRROR") {
        return Some(given);
    }
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path()));
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).find_map(|sources| mirror_in(&sources))
}

fn mirror_in(sources: &str) -> Option<String> {
    let lines = sources.lines().map(str::trim).filter(|line| line.starts_with("URIs:") || line.starts_with("deb "));
    let mut words = lines.flat_map(str::split_whitespace);
    let debian = |word: &&str| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian");
    words.find(debian).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::mirror_in;

    #[test]
    fn the_mirror_is_the_one_of_the_distribution() {
        let deb822 = "Types: deb\nURIs: http://mirror.example/debian-security\n\nTypes: deb\nURIs: http://mirror.example/debian\n";
        assert_eq!(mirror_in(deb822).as_deref(), Some("http://mirror.example/debian"));
        let one_line =
            "# deb http://old.example/debian x main\ndeb [arch=amd64] https://mirror.example/debian/ bookworm main";
        assert_eq!(mirror_in(one_line).as_deref(), Some("https://mirror.example/debian/"));
        assert_eq!(mirror_in("deb https://packages.example/apt cloud main"), None);
    }
}
