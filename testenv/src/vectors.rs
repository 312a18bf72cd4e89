//! Certificates, keys and PKCS#12 files that others published to test with.

use crate::{
    cache,
    error::{Context, Error, Result},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The vectors of the Python project `cryptography`, by version and hash.
const CRYPTOGRAPHY: &str = "cryptography-vectors==50.0.2 \
    --hash=sha256:51641f03a3eb4edbe9fb68e3a3574d25f86aa502d06391fffa886330d02778a0\n";
/// What is taken out of the package: names of folders.
const FOLDERS: [&str; 4] = ["pkcs12/", "x509/", "asymmetric/PKCS8/", "asymmetric/Traditional_OpenSSL_Serialization/"];
/// Unpacks the folders that are named behind the package and the place.
const UNPACK: &str = "import sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
wanted = tuple('cryptography_vectors/' + folder for folder in sys.argv[3:])
archive.extractall(sys.argv[2], [name for name in archive.namelist() if name.startswith(wanted)])";

/// The folder with the vectors of the Python project `cryptography`, which is downloaded first when it is missing (56 MB).
pub fn cryptography() -> Result<PathBuf> {
    let path = cache::dir().join("vectors").join(cache::key([CRYPTOGRAPHY.as_bytes(), UNPACK.as_bytes()]));
    cache::ensure(&path, download)?;
    Ok(path.join("cryptography_vectors"))
}

/// The same when it is there already, for tests.
pub fn cryptography_if_present() -> Option<PathBuf> {
    let path = cache::dir().join("vectors").join(cache::key([CRYPTOGRAPHY.as_bytes(), UNPACK.as_bytes()]));
    path.exists().then(|| path.join("cryptography_vectors"))
}

fn download(to: &Path) -> Result<()> {
    eprintln!("downloading the test vectors of Python's cryptography (56 MB)");
    let folder = tempfile::tempdir().context(|| "cannot make a folder".to_owned())?;
    let requirements = folder.path().join("requirements.txt");
    fs::write(&requirements, CRYPTOGRAPHY).context(|| "cannot write the requirements".to_owned())?;
    python(
        Command::new("python3")
            .args(["-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps", "--require-hashes"])
            .args(["--only-binary", ":all:", "--requirement"])
            .arg(&requirements)
            .arg("--dest")
            .arg(folder.path()),
    )?;
    let mut found = fs::read_dir(folder.path()).context(|| "cannot read the download".to_owned())?.flatten();
    let wheel = found.find(|entry| entry.path().extension().is_some_and(|e| e == "whl"));
    let wheel = wheel.ok_or_else(|| Error::new("pip downloaded no package"))?;
    if to.exists() {
        fs::remove_dir_all(to).context(|| format!("cannot remove {}", to.display()))?;
    }
    python(Command::new("python3").args(["-c", UNPACK]).arg(wheel.path()).arg(to).args(FOLDERS))
}

fn python(command: &mut Command) -> Result<()> {
    let output =
        command.stdin(Stdio::null()).output().context(|| "python3 cannot be started (install it)".to_owned())?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("the test vectors cannot be downloaded: {}", why.trim())));
    }
    Ok(())
}
