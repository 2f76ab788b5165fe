//! What a test needs of a PostgreSQL member that is rewound or copied anew: a directory that may not be started, and a program that is held up.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::PathBuf,
};

use super::postgres::{Member, bin, owner};

/// Holds up the program that rewinds, or the one that copies a whole database.
pub(crate) struct Gate(PathBuf);

impl Gate {
    /// Whether it was begun.
    pub(crate) fn was_tried(&self) -> bool {
        self.0.join("tried").exists()
    }

    /// As if it was not.
    pub(crate) fn forget(&self) {
        fs::remove_file(self.0.join("tried")).unwrap();
    }

    /// Copies fail from now on, as when their source is gone.
    pub(crate) fn fail(&self) {
        fs::write(self.0.join("fails"), "").unwrap();
    }

    /// It goes on from now on.
    pub(crate) fn open(&self) {
        fs::write(self.0.join("open"), "").unwrap();
    }
}

impl Member {
    /// A file of its data directory.
    pub(crate) fn in_data(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    /// From now on its directory may not be started.
    pub(crate) fn condemn(&self, why: &str) {
        let evidence = self.directory.join("agent/evidence");
        fs::create_dir_all(&evidence).unwrap();
        fs::write(evidence.join("rewinding"), why).unwrap();
    }

    /// What stands beside its data directory while that is copied.
    pub(crate) fn copies(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(&self.directory).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".data.copy-")).collect()
    }

    /// Puts a program before the one that copies a whole database: it writes a part, and waits for the gate.
    pub(crate) fn gate_copies(&mut self) -> Gate {
        // One that was left behind by an agent that was killed ends when its directory is gone.
        self.gate("pg_basebackup", |gate| {
            format!(
                "echo half > \"$2/PG_VERSION\"\ntouch {gate}/tried\nwhile [ ! -e {gate}/open ]; do\n[ -d \"$2\" ] || exit 1\n\
                 if [ -e {gate}/fails ]; then echo 'the source is gone' >&2; exit 1; fi\nsleep 0.02\ndone\nrm -f \"$2/PG_VERSION\"\n"
            )
        })
    }

    /// Puts a program before the one that rewinds, which waits for the gate. Rehearsals go through.
    pub(crate) fn gate_rewinds(&mut self) -> Gate {
        self.gate("pg_rewind", |gate| {
            format!(
                "case \" $* \" in *' --dry-run '*) ;; *)\ntouch {gate}/tried\n\
                 while [ ! -e {gate}/open ]; do\n[ -d {gate} ] || exit 1\nsleep 0.02\ndone ;;\nesac\n"
            )
        })
    }

    /// Puts a shell script, made with the gate's directory, before one of its programs.
    fn gate(&mut self, name: &str, script: impl FnOnce(&str) -> String) -> Gate {
        let programs = self.directory.join("programs");
        fs::create_dir(&programs).unwrap();
        for entry in fs::read_dir(bin()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != name {
                symlink(entry.path(), programs.join(entry.file_name())).unwrap();
            }
        }
        let script = format!("#!/bin/sh\n{}exec {}/{name} \"$@\"\n", script(programs.to_str().unwrap()), bin().display());
        let program = programs.join(name);
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let owner = owner();
        chown(&programs, Some(owner.uid.as_raw()), Some(owner.gid.as_raw())).unwrap();
        self.programs.clone_from(&programs);
        Gate(programs)
    }
}
