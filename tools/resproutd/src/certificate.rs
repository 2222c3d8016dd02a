//! The certificate of a node whose operator has set none: signed by itself and made at the first
//! start, so that clients can encrypt, and passwords that are kept salted can be checked.
//!
//! It proves nothing about who answers: whoever wants that sets `tls.certificate` and `tls.key`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use resprout_sql::server::Tls;
use resprout_tools::failure::Failure;

const CERTIFICATE: &str = "server.pem";
const KEY: &str = "server.key";

/// The certificate in a data directory, which is made if it is not there.
///
/// # Errors
/// If the disk fails, or the files are not what was made.
pub(crate) fn own(directory: &Path) -> Result<Tls, Failure> {
    let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
    if !certificate.exists() {
        make(&certificate, &key).map_err(|error| {
            let what = format!("cannot make the certificate {}", certificate.display());
            Failure::new(what, error, "free space, or check permissions")
        })?;
    }
    Tls::from_files(&certificate, &key).map_err(|error| {
        let fix = format!("remove {}: another is made", certificate.display());
        Failure::new("cannot use the node's own certificate", error, fix)
    })
}

/// The key first: a certificate that is there has one.
fn make(certificate: &Path, key: &Path) -> io::Result<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let made = made.map_err(io::Error::other)?;
    write(key, &made.signing_key.serialize_pem())?;
    write(certificate, &made.cert.pem())
}

/// Writes aside, flushes and renames; only the owner can read it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let aside = path.with_extension("tmp");
    // What a crash left may have other permissions.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Promise: it is made once, its key is the owner's only, and half of a making is no obstacle.
    #[test]
    fn it_is_made_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect(name);
        fs::write(dir.path().join("server.tmp"), "half").expect("written");
        fs::write(dir.path().join(KEY), "of a making that did not end").expect("written");
        own(dir.path()).expect("made");
        let made = (read(CERTIFICATE), read(KEY));
        own(dir.path()).expect("read");
        assert_eq!((read(CERTIFICATE), read(KEY)), made);
        let mode = fs::metadata(dir.path().join(KEY)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(dir.path().join(KEY), "something else").expect("written");
        let error = own(dir.path()).expect_err("they do not belong together");
        assert!(format!("{error:?}").contains("server.key"), "{error:?}");
    }
}
