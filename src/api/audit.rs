//! `AuditService`: the chain of what was asked, for reading, proving and keeping.

use std::sync::Arc;

use portolan_core::cluster::audit::{AuditEntry, Chain, Place, verify};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    convert::{audit_out, freshness_out, place_out},
    page::Page,
    proto::{
        AuditPlace, ExportAuditRequest, ExportAuditResponse, ListAuditEntriesRequest, ListAuditEntriesResponse, VerifyAuditRequest,
        VerifyAuditResponse, audit_service_server::AuditService,
    },
    refusal::{self, bad_field},
    source::cluster::{ClusterSource, Standing},
};

/// Links on a page when nothing is said: a screen or two.
const PAGE_SIZE_USUAL: usize = 100;
/// Lines of one message of an export.
const LINES_MAX: usize = 100;
/// Messages that wait for a slow reader.
const WAITING_MAX: usize = 2;

/// The service over a source.
pub struct AuditApi {
    source: Arc<dyn ClusterSource>,
}

impl AuditApi {
    pub(super) fn new(source: Arc<dyn ClusterSource>) -> Self {
        Self { source }
    }

    fn standing(&self) -> Result<Standing, Status> {
        self.source.standing().map_err(|error| refusal::cluster(&error))
    }
}

#[tonic::async_trait]
impl AuditService for AuditApi {
    async fn list_audit_entries(&self, request: Request<ListAuditEntriesRequest>) -> Result<Response<ListAuditEntriesResponse>, Status> {
        let request = request.get_ref();
        let page = Page::read(request.page_size, &request.page_token, PAGE_SIZE_USUAL)?;
        let before: u64 = match page.after() {
            "" => u64::MAX,
            token => token.parse().map_err(|_| bad_field("page_token", "is none that a node gave"))?,
        };
        let standing = self.standing()?;
        let chain = standing.state.audit();
        let newest_first = chain.links().rev().skip_while(|link| link.index >= before);
        let (entries, next_page_token) = page.take(newest_first, |link| link.index.to_string());
        Ok(Response::new(ListAuditEntriesResponse {
            entries: entries.into_iter().map(audit_out).collect(),
            next_page_token,
            head: Some(place_out(chain.head())),
            freshness: Some(freshness_out(&standing)),
        }))
    }

    async fn verify_audit(&self, request: Request<VerifyAuditRequest>) -> Result<Response<VerifyAuditResponse>, Status> {
        let known = request.into_inner().known.map(|place| place_in(&place)).transpose()?;
        let standing = self.standing()?;
        let chain = standing.state.audit();
        let problem = chain.verify().err().map(|broken| broken.to_string()).or_else(|| known.and_then(|known| missing(chain, known)));
        Ok(Response::new(VerifyAuditResponse {
            intact: problem.is_none(),
            problem: problem.unwrap_or_default(),
            begin: Some(place_out(chain.begin())),
            head: Some(place_out(chain.head())),
            entries: chain.links().len() as u64,
            freshness: Some(freshness_out(&standing)),
        }))
    }

    type ExportAuditStream = ReceiverStream<Result<ExportAuditResponse, Status>>;

    async fn export_audit(&self, request: Request<ExportAuditRequest>) -> Result<Response<Self::ExportAuditStream>, Status> {
        let after = request.get_ref().after_index;
        let standing = self.standing()?;
        let begin = standing.state.audit().begin().index;
        if after != 0 && after < begin {
            return Err(refusal::audit_gap(after, begin));
        }
        let (messages, stream) = mpsc::channel(WAITING_MAX);
        let state = standing.state;
        tokio::spawn(async move {
            let links: Vec<&AuditEntry> = state.audit().links().filter(|link| link.index > after).collect();
            for some in links.chunks(LINES_MAX) {
                let lines = some.iter().map(|link| line(link)).collect();
                if messages.send(Ok(ExportAuditResponse { lines })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// A link as it is archived: the fields of [`AuditEntry`], which [`verify`] takes again.
#[must_use]
pub fn line(link: &AuditEntry) -> String {
    serde_json::to_string(link).expect("invariant: texts and numbers only")
}

/// Verifies archived lines, one link each, from `from` on; gives the place after the last.
///
/// # Errors
/// A sentence with the number of the first line that is no link, or does not fit.
pub fn verify_lines<'a>(lines: impl IntoIterator<Item = &'a str>, from: Option<Place>) -> Result<Place, String> {
    let mut place = from;
    for (i, text) in lines.into_iter().enumerate() {
        let link: AuditEntry =
            serde_json::from_str(text).map_err(|error| format!("line {}: no link of the audit chain: {error}", i + 1))?;
        // Without a place to begin at, the first link is believed in what came before it.
        let before = place.unwrap_or_else(|| Place { index: link.index.saturating_sub(1), hash: link.prev });
        place = Some(verify([&link], before).map_err(|broken| format!("line {}: entry {}: {}", i + 1, broken.index, broken.kind))?);
    }
    Ok(place.unwrap_or_default())
}

fn place_in(wire: &AuditPlace) -> Result<Place, Status> {
    let hash = serde_json::from_value(wire.hash.clone().into());
    Ok(Place { index: wire.index, hash: hash.map_err(|error| bad_field("known.hash", error))? })
}

/// Why a place that was noted before cannot be confirmed; `None`: the chain goes through it.
fn missing(chain: &Chain, known: Place) -> Option<String> {
    let (begin, head) = (chain.begin(), chain.head());
    if known == begin || known == head {
        return None;
    }
    if known.index < begin.index {
        return Some(format!(
            "entry {} is older than what is kept, which begins after entry {}; verify an export",
            known.index, begin.index
        ));
    }
    if known.index > head.index {
        return Some(format!("entry {} is not here: the chain of this node ends at entry {}", known.index, head.index));
    }
    match chain.links().find(|link| link.index == known.index) {
        Some(link) if link.hash == known.hash => None,
        Some(link) => Some(format!("entry {} has the hash {}, not {}: one of the two was changed", known.index, link.hash, known.hash)),
        None => Some(format!("the chain has no link for entry {}", known.index)),
    }
}
