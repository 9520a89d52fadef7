//! Certificates that somebody else makes: files of a directory, which may be the mount of a Secret. They are taken up
//! when they change.

use super::Credentials;
use super::certificates::{self, CA_CERTIFICATE, Pair};
use crate::controller::Mounts;
use jiff::Timestamp;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The metric and the log tell of a certificate that expires; somebody else renews it.
const LOOK_AGAIN: Duration = Duration::from_secs(60 * 60);

/// Keeps serving with what the files hold, until it is aborted.
pub async fn keep(directory: PathBuf, certificate: String, key: String, credentials: Credentials) {
    loop {
        // Before the files are read, so that no change falls between.
        let mounts = Mounts::new(std::slice::from_ref(&directory));
        match read(&directory, &certificate, &key) {
            Ok(pair) => credentials.serve(pair),
            Err(why) => credentials.say(Some(format!("{}: {why}", directory.display()))),
        }
        tokio::select! {
            () = mounts.changed() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

fn read(directory: &Path, certificate: &str, key: &str) -> Result<Pair, String> {
    let file = |name: &str| {
        fs::read(directory.join(name)).map_err(|e| format!("{name} cannot be read: {e}"))
    };
    let trust = match fs::read(directory.join(CA_CERTIFICATE)) {
        Ok(trust) => Some(trust),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(format!("{CA_CERTIFICATE} cannot be read: {e}")),
    };
    certificates::given(&file(certificate)?, &file(key)?, trust, Timestamp::now())
}
