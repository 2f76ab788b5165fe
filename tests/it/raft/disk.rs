//! A disk in memory that forgets what was not synced.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use redb::StorageBackend;

#[derive(Debug, Default)]
struct Octets {
    /// What the program reads.
    written: Vec<u8>,
    /// What outlives the power.
    synced: Vec<u8>,
}

/// Cheap to clone; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Platter(Arc<Mutex<Octets>>);

impl Platter {
    /// Everything since the last sync is gone.
    pub(super) fn lose_power(&self) {
        let mut it = self.lock();
        it.written = it.synced.clone();
    }

    fn lock(&self) -> MutexGuard<'_, Octets> {
        self.0.lock().unwrap()
    }
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let it = self.lock();
        let found = it.written.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().written.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut it = self.lock();
        it.synced = it.written.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let mut it = self.lock();
        let place = it.written.get_mut(start..start + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        place.copy_from_slice(data);
        Ok(())
    }
}
