//! The break-glass socket: a file that only root and the daemon's user may open, from its first moment on.
//!
//! Invariant: nobody else could connect between its making and the setting of its mode, because the mode is set on the socket before it gets
//! its name: Linux takes it over (`unix_bind`), less the umask. A file that is left from a killed daemon is replaced; one that somebody
//! listens on is not, and neither is one that is no socket. Two daemons that start at once take turns by a lock on the directory.

use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use tokio::net::{UnixListener, UnixSocket};

/// Read and write for the owner. Connecting takes write permission (unix(7)).
const MODE: u32 = 0o600;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 16;

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens on it.
    #[error("a process listens on it already; stop that one, or choose another `listen.socket`")]
    InUse,
    /// Something else has the name.
    #[error("there is something else of that name, and no socket; remove it, or choose another `listen.socket`")]
    NotASocket,
    /// The system refuses.
    #[error("{attempt}: {cause}")]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// What the system says.
        cause: io::Error,
    },
}

/// The name of a socket that is listened on; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // What stays behind is replaced at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

/// Listens on `path`; its directory must exist.
pub(super) fn listen(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let failed = |attempt| move |cause: io::Error| SocketError::System { attempt, cause };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let directory = File::open(parent).map_err(failed("open its directory, which must exist"))?;
    // Given back when the directory is closed; by then somebody listens.
    flock(&directory, FlockOperation::LockExclusive).map_err(|error| failed("lock its directory")(error.into()))?;
    remove_stale(path)?;
    let socket = UnixSocket::new_stream().map_err(failed("make a socket"))?;
    fchmod(&socket, Mode::from_raw_mode(MODE)).map_err(|error| failed("set its mode")(error.into()))?;
    socket.bind(path).map_err(failed("give it its name"))?;
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed("set its mode"))?;
    let listener = socket.listen(BACKLOG).map_err(failed("listen on it"))?;
    Ok((listener, file))
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |attempt| move |cause: io::Error| SocketError::System { attempt, cause };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look for a file of its name")(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed("remove the one that was left")),
        Err(error) => Err(failed("see whether somebody listens on the one that is there")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_the_owners_alone_and_leaves_with_its_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portolan.sock");
        let (_listener, file) = listen(&path).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_mode_is_there_before_the_name_is() {
        // What `listen` relies on: Linux takes the mode of a socket over when it is bound.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let socket = UnixSocket::new_stream().unwrap();
        fchmod(&socket, Mode::from_raw_mode(MODE)).unwrap();
        socket.bind(&path).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
    }

    #[tokio::test]
    async fn only_what_nobody_listens_on_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portolan.sock");
        // Left by a daemon that was killed: the name stays, nobody listens.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (listener, file) = listen(&path).unwrap();
        assert!(matches!(listen(&path), Err(SocketError::InUse)));
        UnixStream::connect(&path).unwrap();
        drop((listener, file));

        fs::write(&path, "notes").unwrap();
        assert!(matches!(listen(&path), Err(SocketError::NotASocket)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
        let absent = listen(&folder.path().join("absent/portolan.sock")).unwrap_err();
        assert!(absent.to_string().contains("its directory"), "{absent}");
    }
}
