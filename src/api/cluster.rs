//! `ClusterService`: the nodes, who votes, and the agreed state for keeping.

use std::{collections::BTreeSet, sync::Arc};

use portolan_core::cluster::NodeId;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    auth::Caller,
    convert::{cluster_out, freshness_out, member_out, place_out, time_out},
    mutation::{accepted, caller},
    page::{PAGE_SIZE_MAX, Page},
    proto::{
        AddMemberRequest, AddMemberResponse, BackupRequest, BackupResponse, BootstrapRequest, BootstrapResponse, ForceQuorumRequest,
        ForceQuorumResponse, GetClusterRequest, GetClusterResponse, ListMembersRequest, ListMembersResponse, RemoveMemberRequest,
        RemoveMemberResponse, ReplaceMemberRequest, ReplaceMemberResponse, TransferLeaderRequest, TransferLeaderResponse,
        backup_response::{Manifest, Part},
        cluster_service_server::ClusterService,
    },
    refusal::{self, Reason, bad_field},
    source::cluster::{Asked, ClusterSource, Member, MembershipDone, MembershipOrder, Standing},
};

/// Backups made at a time: each holds the whole state as octets.
const BACKUPS_MAX: usize = 2;
/// Octets of one piece of a backup: small beside what a client decodes, large beside its frame.
const CHUNK_OCTETS: usize = 256 * 1024;
/// Pieces that wait for a slow reader.
const WAITING_MAX: usize = 2;
/// The most lost voters that are named.
const LOST_MAX: usize = 64;

/// The service over a source.
pub struct ClusterApi {
    source: Arc<dyn ClusterSource>,
    backups: Arc<Semaphore>,
}

impl ClusterApi {
    pub(super) fn new(source: Arc<dyn ClusterSource>) -> Self {
        Self { source, backups: Arc::new(Semaphore::new(BACKUPS_MAX)) }
    }

    fn standing(&self) -> Result<Standing, Status> {
        self.source.standing().map_err(|error| refusal::cluster(&error))
    }

    async fn members(&self) -> Result<Vec<Member>, Status> {
        let mut members = self.source.members().await.map_err(|error| refusal::cluster(&error))?;
        members.sort_by_cached_key(key);
        Ok(members)
    }

    async fn change(&self, order: MembershipOrder, asked: Asked) -> Result<MembershipDone, Status> {
        let (by, validate_only, what) = (asked.by.clone(), asked.validate_only, format!("membership: {order:?}"));
        let done = self.source.change_membership(order, asked).await.map_err(|error| refusal::cluster(&error))?;
        accepted(&by, &what, validate_only, None, false);
        Ok(done)
    }
}

/// By region, then name; the id tells two of one name apart.
fn key(member: &Member) -> String {
    format!("{}/{}/{}", member.region, member.name, member.id)
}

/// The one node of this name or id. A voter's place must not be guessed, so a name that two have is refused.
fn find(members: &[Member], field: &str, text: &str) -> Result<NodeId, Status> {
    if text.is_empty() {
        return Err(bad_field(field, "is empty; write members/ID, or the node's name"));
    }
    let end = text.strip_prefix("members/").unwrap_or(text);
    let by_id = members.iter().find(|member| member.id.to_string() == end);
    let by_name: Vec<&Member> = members.iter().filter(|member| member.name == end).collect();
    match (by_id, &by_name[..]) {
        (Some(member), _) => Ok(member.id),
        (None, [member]) => Ok(member.id),
        (None, []) => Err(Reason::UnknownNode.status(format!("no node has the name or id `{end}`"), end, &names(members))),
        (None, several) => {
            let ids: Vec<String> = several.iter().map(|member| format!("members/{}", member.id)).collect();
            Err(Reason::UnknownNode.status(
                format!("{} nodes have the name `{end}`; give the id of one: {}", ids.len(), ids.join(", ")),
                end,
                &ids,
            ))
        }
    }
}

fn names(members: &[Member]) -> Vec<String> {
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    names.into_iter().take(10).map(str::to_owned).collect()
}

fn asked(caller: &Caller, reason: String, validate_only: bool) -> Result<Asked, Status> {
    if reason.trim().is_empty() || reason.len() > portolan_core::cluster::limits::REASON_MAX || reason.chars().any(char::is_control) {
        return Err(bad_field("reason", "must be one line that says why: --reason"));
    }
    Ok(Asked { by: caller.actor(), reason, validate_only })
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    async fn get_cluster(&self, _: Request<GetClusterRequest>) -> Result<Response<GetClusterResponse>, Status> {
        let standing = self.standing()?;
        Ok(Response::new(GetClusterResponse { cluster: Some(cluster_out(&standing)), freshness: Some(freshness_out(&standing)) }))
    }

    async fn list_members(&self, request: Request<ListMembersRequest>) -> Result<Response<ListMembersResponse>, Status> {
        let request = request.get_ref();
        let page = Page::read(request.page_size, &request.page_token, PAGE_SIZE_MAX)?;
        let standing = self.standing()?;
        let (members, next_page_token) = page.of(self.members().await?, key);
        let members = members.iter().map(|member| member_out(member, &standing)).collect();
        Ok(Response::new(ListMembersResponse { members, next_page_token, freshness: Some(freshness_out(&standing)) }))
    }

    async fn transfer_leader(&self, request: Request<TransferLeaderRequest>) -> Result<Response<TransferLeaderResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let asked = asked(&caller, request.reason, request.validate_only)?;
        let to = match request.member.as_str() {
            "" => None,
            member => Some(find(&self.members().await?, "member", member)?),
        };
        let done = self.change(MembershipOrder::Transfer(to), asked).await?;
        Ok(Response::new(TransferLeaderResponse { leader: done.leader.unwrap_or_default() }))
    }

    async fn add_member(&self, request: Request<AddMemberRequest>) -> Result<Response<AddMemberResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let asked = asked(&caller, request.reason, request.validate_only)?;
        let id = find(&self.members().await?, "member", &request.member)?;
        let done = self.change(MembershipOrder::Add(id), asked).await?;
        Ok(Response::new(AddMemberResponse { voters: done.voters }))
    }

    async fn remove_member(&self, request: Request<RemoveMemberRequest>) -> Result<Response<RemoveMemberResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let asked = asked(&caller, request.reason, request.validate_only)?;
        let id = find(&self.members().await?, "member", &request.member)?;
        let done = self.change(MembershipOrder::Remove(id), asked).await?;
        Ok(Response::new(RemoveMemberResponse { voters: done.voters }))
    }

    async fn replace_member(&self, request: Request<ReplaceMemberRequest>) -> Result<Response<ReplaceMemberResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let asked = asked(&caller, request.reason, request.validate_only)?;
        let members = self.members().await?;
        let (old, new) = (find(&members, "member", &request.member)?, find(&members, "replacement", &request.replacement)?);
        if old == new {
            return Err(bad_field("replacement", "is the node that shall be replaced"));
        }
        let done = self.change(MembershipOrder::Replace { old, new }, asked).await?;
        Ok(Response::new(ReplaceMemberResponse { voters: done.voters }))
    }

    async fn bootstrap(&self, request: Request<BootstrapRequest>) -> Result<Response<BootstrapResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let asked = asked(&caller, request.reason, request.validate_only)?;
        let done = self.change(MembershipOrder::Bootstrap, asked).await?;
        Ok(Response::new(BootstrapResponse { voters: done.voters }))
    }

    async fn force_quorum(&self, request: Request<ForceQuorumRequest>) -> Result<Response<ForceQuorumResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let asked = asked(&caller, request.reason, request.validate_only)?;
        let standing = self.standing()?;
        let cluster = standing.state.cluster().map(ToString::to_string).unwrap_or_default();
        if request.cluster != cluster || cluster.is_empty() {
            return Err(bad_field("cluster", format!("must be the id of the cluster, which is `{cluster}`; it was `{}`", request.cluster)));
        }
        let expected_generation = request.expected_generation.ok_or_else(|| bad_field("expected_generation", "is not set"))?;
        let generation = standing.state.generation();
        if expected_generation != generation {
            let text = format!("generation {expected_generation} was expected, and it is {generation}");
            let remedy = "look at the cluster as it is now, and start again".to_owned();
            return Err(refusal::rule(&portolan_core::cluster::Refusal { rule: portolan_core::cluster::Rule::Generation, text, remedy }));
        }
        if request.lost.is_empty() || request.lost.len() > LOST_MAX {
            return Err(bad_field("lost", format!("must name 1 to {LOST_MAX} nodes: every voter that is lost for good")));
        }
        let members = self.members().await?;
        let lost = request.lost.iter().map(|name| find(&members, "lost", name)).collect::<Result<BTreeSet<_>, _>>()?;
        let done = self.change(MembershipOrder::ForceQuorum { lost, expected_generation }, asked).await?;
        Ok(Response::new(ForceQuorumResponse { generation: done.generation, voters: done.voters }))
    }

    type BackupStream = ReceiverStream<Result<BackupResponse, Status>>;

    async fn backup(&self, _: Request<BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        let place = Arc::clone(&self.backups).try_acquire_owned().map_err(|_| {
            let message = format!("{BACKUPS_MAX} backups are under way, as many as one node makes at a time");
            Reason::Busy.status(message, "", &[])
        })?;
        let standing = self.standing()?;
        let state = Arc::clone(&standing.state);
        let made = tokio::task::spawn_blocking(move || {
            let octets = state.snapshot();
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &octets);
            let digest: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
            (octets, digest)
        });
        let (octets, sha256) = made.await.map_err(|_| refusal::stopping())?;
        let manifest = Manifest {
            cluster: standing.state.cluster().map(ToString::to_string).unwrap_or_default(),
            generation: standing.state.generation(),
            applied_index: standing.applied.unwrap_or(0),
            audit_head: Some(place_out(standing.state.audit().head())),
            octets: octets.len() as u64,
            sha256,
            time: Some(time_out(standing.now)),
        };
        let (pieces, stream) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            let _place = place;
            let chunks = octets.chunks(CHUNK_OCTETS).map(|chunk| Part::Chunk(chunk.to_vec()));
            for part in std::iter::once(Part::Manifest(manifest)).chain(chunks) {
                if pieces.send(Ok(BackupResponse { part: Some(part) })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
