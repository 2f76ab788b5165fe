//! Places of backups: real directories, and a real S3 API (moto's server) beside stores and services that answer as none should.

mod directory;
mod http;
pub(crate) mod moto;
mod s3;
mod stub;

use portolan_core::model::time::Timestamp;

/// By the machine's clock, as stores and file systems have it.
pub(crate) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}
