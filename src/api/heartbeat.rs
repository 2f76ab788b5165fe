//! `HeartbeatService`: observations that are pushed, for what cannot be probed from outside.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    explain::OBJECT_OCTETS_MAX,
    proto::{BeatRequest, BeatResponse, beat_request::Outcome, heartbeat_service_server::HeartbeatService},
    refusal::{self, bad_field},
    source::{Beat, ControlSource},
};

/// The longest note in characters: it stands in one line of `why`.
pub const NOTE_CHARS_MAX: usize = 200;

/// The service over a source.
pub struct HeartbeatApi {
    source: Arc<dyn ControlSource>,
}

impl HeartbeatApi {
    pub(super) fn new(source: Arc<dyn ControlSource>) -> Self {
        Self { source }
    }
}

#[tonic::async_trait]
impl HeartbeatService for HeartbeatApi {
    async fn beat(&self, request: Request<BeatRequest>) -> Result<Response<BeatResponse>, Status> {
        let beat = read(request.into_inner())?;
        self.source.beat(beat).await.map_err(|error| refusal::beat(&error))?;
        Ok(Response::new(BeatResponse {}))
    }
}

fn read(request: BeatRequest) -> Result<Beat, Status> {
    let ok = match request.outcome() {
        Outcome::Ok => true,
        Outcome::Failed => false,
        Outcome::Unspecified => return Err(bad_field("outcome", "is not set; say OUTCOME_OK or OUTCOME_FAILED")),
    };
    let BeatRequest { name, note, .. } = request;
    if name.is_empty() || name.len() > OBJECT_OCTETS_MAX {
        return Err(bad_field("name", format!("must have 1 to {OBJECT_OCTETS_MAX} octets: the name of a check in the plan")));
    }
    if note.chars().count() > NOTE_CHARS_MAX || note.chars().any(char::is_control) {
        return Err(bad_field("note", format!("must be one line of at most {NOTE_CHARS_MAX} characters")));
    }
    Ok(Beat { name, ok, note })
}
