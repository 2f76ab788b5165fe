//! `OverrideService`: orders of people, agreed or local.

use std::{collections::BTreeMap, sync::Arc};

use portolan_core::{
    cluster::{Change, End},
    health::overlay::{Override, OverrideKind},
    model::ids::Label,
};
use tonic::{Request, Response, Status};

use super::{
    convert::{freshness_out, override_out},
    mutation::{caller, envelope, propose},
    page::{PAGE_SIZE_MAX, Page, end_of},
    proto::{
        self, CreateOverrideRequest, CreateOverrideResponse, DeleteOverrideRequest, DeleteOverrideResponse, GetOverrideRequest,
        GetOverrideResponse, ListOverridesRequest, ListOverridesResponse, r#override::Expiration, override_service_server::OverrideService,
    },
    reading::{end_after, end_at, kind_in, required_end, scope_in},
    refusal::{self, Reason, bad_field},
    source::cluster::{ClusterSource, Reach, Standing},
};

/// The longest life of a local order, in milliseconds: without a majority it must not outlive the people who know of it.
pub const LOCAL_LIFE_MAX_MS: u64 = 3_600_000;

/// The service over a source.
pub struct OverrideApi {
    source: Arc<dyn ClusterSource>,
}

impl OverrideApi {
    pub(super) fn new(source: Arc<dyn ClusterSource>) -> Self {
        Self { source }
    }

    fn standing(&self) -> Result<Standing, Status> {
        self.source.standing().map_err(|error| refusal::cluster(&error))
    }

    /// Orders in force by name, and whether each is local. An agreed one hides a local one of its name.
    fn in_force(&self, standing: &Standing) -> BTreeMap<Label, (Override, bool)> {
        let local = self.source.local_overrides().into_iter().map(|order| (order, true));
        let agreed = standing.state.overrides().into_iter().map(|order| (order, false));
        let all = local.chain(agreed).filter(|(order, _)| order.is_in_force(standing.now));
        all.map(|(order, is_local)| (order.id.clone(), (order, is_local))).collect()
    }
}

#[tonic::async_trait]
impl OverrideService for OverrideApi {
    async fn list_overrides(&self, request: Request<ListOverridesRequest>) -> Result<Response<ListOverridesResponse>, Status> {
        let request = request.get_ref();
        let page = Page::read(request.page_size, &request.page_token, PAGE_SIZE_MAX)?;
        let standing = self.standing()?;
        let (orders, next_page_token) = page.of(self.in_force(&standing).into_values(), |(order, _)| order.id.to_string());
        let overrides = orders.iter().map(|(order, is_local)| override_out(order, *is_local)).collect();
        Ok(Response::new(ListOverridesResponse { overrides, next_page_token, freshness: Some(freshness_out(&standing)) }))
    }

    async fn get_override(&self, request: Request<GetOverrideRequest>) -> Result<Response<GetOverrideResponse>, Status> {
        let name = end_of("name", &request.get_ref().name, "overrides")?;
        let standing = self.standing()?;
        let found = self.in_force(&standing).remove(&Label::new(name));
        let (order, is_local) =
            found.ok_or_else(|| Reason::UnknownObject.status(format!("there is no order `{name}` in force"), name, &[]))?;
        let order = Some(override_out(&order, is_local));
        Ok(Response::new(GetOverrideResponse { r#override: order, freshness: Some(freshness_out(&standing)) }))
    }

    async fn create_override(&self, request: Request<CreateOverrideRequest>) -> Result<Response<CreateOverrideResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let wanted = request.r#override.take().ok_or_else(|| bad_field("override", "is not set"))?;
        let kind = kind_in(wanted.kind(), wanted.weight)?;
        let scope = scope_in("override.scope", wanted.scope)?;
        let end = match &wanted.expiration {
            Some(Expiration::ExpireTime(time)) => Some(end_at("override.expire_time", time)?),
            Some(Expiration::Ttl(ttl)) => Some(end_after("override.ttl", ttl)?),
            None => None,
        };
        let end = required_end("override", end)?;
        let standing = self.standing()?;
        let reach = if wanted.local { local(kind, end, &standing)? } else { Reach::Cluster };
        let id = (!request.override_id.is_empty()).then(|| Label::new(&request.override_id));
        // A repeat of the same order is for the request id to recognise.
        let is_other =
            |known: &Override| known.kind != kind || known.scope != scope || known.who != caller.name || known.why != request.reason;
        if let Some(id) = id.as_ref().filter(|_| !request.replace)
            && let Some((known, _)) = self.in_force(&standing).get(id).filter(|(known, _)| is_other(known))
        {
            return Err(Reason::NameTaken.status(format!("`{id}` is the name of another order: {known}"), id.as_str(), &[]));
        }
        let envelope = envelope!(request);
        let why = envelope.reason.clone();
        let change = Change::PutOverride { id: id.clone(), kind, scope: scope.clone(), end };
        let done = propose(&*self.source, envelope.draft(&caller, change, Some(end), reach)?).await?;
        if done.commit.repeated_request
            && let Some((known, is_local)) = done.object.as_ref().and_then(|id| self.in_force(&self.standing().ok()?).remove(id))
        {
            // As it was given the first time, with its end then.
            return Ok(Response::new(CreateOverrideResponse {
                r#override: Some(override_out(&known, is_local)),
                commit: Some(done.commit),
            }));
        }
        let given = Override {
            // When it was only judged, the name that the index would make is nobody's yet.
            id: done.object.filter(|_| done.commit.index.is_some() || wanted.local).or(id).unwrap_or_else(|| Label::new("")),
            kind,
            scope,
            who: caller.name,
            why,
            at: done.at,
            until: Some(end.resolve(done.at)),
        };
        let mut given = override_out(&given, wanted.local);
        if given.name == "overrides/" {
            given.name.clear();
        }
        Ok(Response::new(CreateOverrideResponse { r#override: Some(given), commit: Some(done.commit) }))
    }

    async fn delete_override(&self, request: Request<DeleteOverrideRequest>) -> Result<Response<DeleteOverrideResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let id = Label::new(end_of("name", &request.name, "overrides")?);
        // A local order is taken back where it is held; an agreed one of the same name comes first.
        let is_agreed = self.standing()?.state.order(id.as_str()).is_some();
        let is_local = !is_agreed && self.source.local_overrides().iter().any(|order| order.id == id);
        let reach = if is_local { Reach::Local } else { Reach::Cluster };
        let draft = envelope!(request).draft(&caller, Change::RemoveOverride { id }, None, reach)?;
        let done = propose(&*self.source, draft).await?;
        Ok(Response::new(DeleteOverrideResponse { commit: Some(done.commit) }))
    }
}

/// A local order only takes answers away or weighs them, and not for long.
fn local(kind: OverrideKind, end: End, standing: &Standing) -> Result<Reach, Status> {
    if !matches!(kind, OverrideKind::Drain | OverrideKind::Weight(_)) {
        return Err(bad_field("override.local", format!("is set for {kind}; without a majority only drain and weight can be ordered")));
    }
    let life = end.resolve(standing.now).since(standing.now);
    if life.as_millis() > u128::from(LOCAL_LIFE_MAX_MS) {
        return Err(bad_field("override.local", "is set, and it would last longer than one hour; give at most `ttl: 3600s`, and renew it"));
    }
    Ok(Reach::Local)
}

impl proto::Override {
    /// A drain of a scope for so long: the commonest order, for clients.
    #[must_use]
    pub fn drain(scope: proto::scope::Scope, ttl: std::time::Duration) -> Self {
        Self {
            scope: Some(proto::Scope { scope: Some(scope) }),
            kind: proto::r#override::Kind::Drain.into(),
            expiration: Some(Expiration::Ttl(super::convert::duration_out(ttl))),
            ..Self::default()
        }
    }
}
