//! Where built tools and images are kept between runs.

use crate::error::{Context, Result};
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// The cache folder: `$MAILCERT_CACHE`, else `$XDG_CACHE_HOME/mailcert`, else `~/.cache/mailcert`.
pub fn dir() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("MAILCERT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|base| base.join("mailcert")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/mailcert")))
        .unwrap_or_else(|| env::temp_dir().join("mailcert-cache"))
}

/// The first 12 hexadecimal digits of the SHA-256 over `parts`, each preceded by its length.
pub fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Makes `path` with `make` unless it exists already. `make` writes to the path that it is given, next to the final one,
/// so that a run that is cut short leaves nothing that looks finished. A file lock makes parallel processes take turns.
pub(crate) fn ensure(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    fs::create_dir_all(folder).context(|| format!("cannot create {}", folder.display()))?;
    let lock_path = folder.join(format!(".{name}.lock"));
    let lock = File::create(&lock_path).context(|| format!("cannot create {}", lock_path.display()))?;
    lock.lock().context(|| format!("cannot lock {}", lock_path.display()))?;
    if path.exists() {
        return Ok(());
    }
    let unfinished = folder.join(format!(".{name}.new"));
    make(&unfinished)?;
    fs::rename(&unfinished, path).context(|| format!("cannot put {} into place", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_depends_on_where_the_parts_end() {
        assert_ne!(key([b"ab".as_slice(), b"c"]), key([b"a".as_slice(), b"bc"]));
        assert_eq!(key([b"ab".as_slice()]).len(), 12);
    }

    #[test]
    fn a_failed_make_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tool");
        let failed = ensure(&path, |unfinished| {
            fs::write(unfinished, "half").unwrap();
            Err(crate::Error::new("stopped"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "stopped");
        assert!(!path.exists());
        ensure(&path, |unfinished| fs::write(unfinished, "whole").context(String::new)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        ensure(&path, |_| panic!("it exists")).unwrap();
    }
}
