//! A disk in memory that forgets what was not synced, and may tear what was being written.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use redb::StorageBackend;

/// What is torn apart when power goes: a sector is written or not.
const SECTOR: usize = 512;

/// Something written that is not synced yet.
#[derive(Debug)]
enum Pending {
    Length(usize),
    Octets(usize, Vec<u8>),
}

/// What is wrong with a disk that has its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no room for what is written.
    Full,
    /// It does not sync, once: what was to be synced is forgotten, and the next sync says that all is well, as kernels do after an error.
    Sync,
}

#[derive(Debug, Default)]
struct Octets {
    /// What the program reads.
    written: Vec<u8>,
    /// What outlives the power.
    synced: Vec<u8>,
    /// What makes `written` of `synced`, in order.
    pending: Vec<Pending>,
    /// How often power went; a program of an earlier time reaches nothing any more.
    losses: u64,
    /// After so many more writes and syncs power goes; `None`: not by itself.
    fuse: Option<u32>,
    /// Says that it has synced, and has not.
    lies: bool,
    /// What is wrong with it; `None`: nothing.
    fault: Option<Fault>,
}

impl Octets {
    /// Whether the program still has a disk.
    fn turn(&mut self, losses: u64) -> io::Result<()> {
        match &mut self.fuse {
            _ if self.losses != losses => Err(io::Error::other("the power is gone")),
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on device")
}

/// As `Vec::resize` with zeros, which takes its time where nothing is optimised.
fn resize(octets: &mut Vec<u8>, length: usize) {
    if length <= octets.len() {
        octets.truncate(length);
        return;
    }
    let mut grown = vec![0; length];
    grown[..octets.len()].copy_from_slice(octets);
    *octets = grown;
}

/// A handle of a disk; clones are the same disk, as long as the power stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Platter {
    octets: Arc<Mutex<Octets>>,
    /// The losses of power when this handle was made.
    losses: u64,
}

#[allow(dead_code, reason = "the tests of the boundary and the simulations use a part each")]
impl Platter {
    /// A handle for a program that starts now.
    pub(crate) fn plugged(&self) -> Self {
        Self { octets: Arc::clone(&self.octets), losses: self.lock().losses }
    }

    /// Another disk with what the program reads from this one.
    pub(crate) fn copy(&self) -> Self {
        let written = self.lock().written.clone();
        Self { octets: Arc::new(Mutex::new(Octets { synced: written.clone(), written, ..Octets::default() })), losses: 0 }
    }

    /// Everything since the last sync is gone, and whoever had the disk open has it no more.
    pub(crate) fn lose_power(&self) {
        self.tear(|| false);
    }

    /// As [`Self::lose_power`], but of what was not synced some sectors are there: those for which `is_kept`.
    pub(crate) fn tear(&self, mut is_kept: impl FnMut() -> bool) {
        let mut it = self.lock();
        for pending in std::mem::take(&mut it.pending) {
            match pending {
                Pending::Length(length) if is_kept() => resize(&mut it.synced, length),
                Pending::Length(_) => {}
                Pending::Octets(start, octets) => {
                    for (n, sector) in octets.chunks(SECTOR).enumerate() {
                        let start = start + n * SECTOR;
                        if is_kept()
                            && let Some(place) = it.synced.get_mut(start..start + sector.len())
                        {
                            place.copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        it.written = it.synced.clone();
        it.losses += 1;
        it.fuse = None;
    }

    /// Power goes after so many more writes and syncs: in the middle of a transaction. `None`: not by itself.
    pub(crate) fn set_fuse(&self, n: Option<u32>) {
        self.lock().fuse = n;
    }

    /// Whether the fuse has burned down: the program reaches nothing any more, and must be ended.
    pub(crate) fn is_dark(&self) -> bool {
        let it = self.lock();
        it.losses != self.losses || it.fuse == Some(0)
    }

    /// From here on it says of what is written that it is synced, and keeps it in memory only; or not any more.
    pub(crate) fn set_lies(&self, lies: bool) {
        self.lock().lies = lies;
    }

    /// From here on this is wrong with it; `None`: it is mended.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    fn lock(&self) -> MutexGuard<'_, Octets> {
        self.octets.lock().unwrap()
    }
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let it = self.lock();
        if it.losses != self.losses {
            return Err(io::Error::other("the power is gone"));
        }
        let found = it.written.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut it = self.lock();
        it.turn(self.losses)?;
        let length = usize::try_from(len).unwrap();
        if it.fault == Some(Fault::Full) && length > it.written.len() {
            return Err(full());
        }
        resize(&mut it.written, length);
        it.pending.push(Pending::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut it = self.lock();
        it.turn(self.losses)?;
        if it.lies {
            return Ok(());
        }
        if it.fault == Some(Fault::Sync) && !it.pending.is_empty() {
            it.pending.clear();
            it.fault = None;
            return Err(io::Error::other("input/output error"));
        }
        for pending in std::mem::take(&mut it.pending) {
            match pending {
                Pending::Length(length) => resize(&mut it.synced, length),
                Pending::Octets(start, octets) => it.synced[start..start + octets.len()].copy_from_slice(&octets),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let mut it = self.lock();
        it.turn(self.losses)?;
        if it.fault == Some(Fault::Full) {
            return Err(full());
        }
        let place = it.written.get_mut(start..start + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        place.copy_from_slice(data);
        it.pending.push(Pending::Octets(start, data.to_vec()));
        Ok(())
    }
}
