//! `AccessService`: who the caller is, and what that allows.

use portolan_core::cluster::Role;
use tonic::{Request, Response, Status};

use super::{
    auth::{Proof, methods},
    mutation::caller,
    proto::{
        self, CanIRequest, CanIResponse, WhoAmIRequest, WhoAmIResponse, access_service_server::AccessService,
        who_am_i_response::Proof as WireProof,
    },
    refusal::bad_field,
};

/// The service; all it says comes with the call.
pub struct AccessApi;

#[tonic::async_trait]
impl AccessService for AccessApi {
    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        let caller = caller(&request)?;
        let proof = match caller.proof {
            Proof::Certificate => WireProof::Certificate,
            Proof::Token => WireProof::Token,
            Proof::Socket => WireProof::Socket,
            Proof::Loopback => WireProof::Loopback,
            Proof::Nothing => WireProof::Unspecified,
        };
        let role = role_out(caller.role).into();
        Ok(Response::new(WhoAmIResponse { name: caller.name, role, proof: proof.into(), groups: caller.groups, because: caller.because }))
    }

    async fn can_i(&self, request: Request<CanIRequest>) -> Result<Response<CanIResponse>, Status> {
        let caller = caller(&request)?;
        let text = request.into_inner().method;
        let unknown =
            || bad_field("method", format!("`{text}` is no method; write CreateOverride, or portolan.v1.OverrideService/CreateOverride"));
        let method = methods::find_by_end(&text).ok_or_else(unknown)?;
        Ok(Response::new(CanIResponse {
            allowed: method.least <= caller.role,
            method: method.name.to_owned(),
            needed: role_out(method.least).into(),
            role: role_out(caller.role).into(),
        }))
    }
}

const fn role_out(role: Option<Role>) -> proto::Role {
    match role {
        None => proto::Role::Unspecified,
        Some(Role::Viewer) => proto::Role::Viewer,
        Some(Role::Operator) => proto::Role::Operator,
        Some(Role::Approver) => proto::Role::Approver,
        Some(Role::Admin) => proto::Role::Admin,
        // The cluster itself calls nobody; its role is above all others.
        Some(Role::Breakglass | Role::System) => proto::Role::Breakglass,
    }
}
