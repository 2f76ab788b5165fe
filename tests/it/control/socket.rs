//! The break-glass socket: no certificate, no token, the kernel's word for who it is, and the role that nothing else gives.

use portolan::{
    api::{
        ApiError, ApiOptions, ApiServer,
        proto::{ForceQuorumRequest, Role, WhoAmIRequest, who_am_i_response::Proof},
        source::cluster::MembershipOrder,
    },
    client::{Cause, Client, ClientError, Target},
};
use portolan_core::cluster::NodeId;
use tonic::Code;

use super::{Authority, at, double::Ideal, loopback, refused, serve};
use crate::canned::{self, Canned};

#[tokio::test]
async fn who_may_open_the_socket_may_go_on_without_a_lost_majority_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portolan.sock");
    let authority = Authority::new("ours");
    let files = authority.files(folder.path(), "server", None, &authority);
    let cluster = Ideal::founded();
    let options = ApiOptions { socket: Some(path.clone()), ..ApiOptions::new(loopback(), Some(files)) };
    let server = serve(options, &cluster).await;
    let client = Client::connect(&at(format!("unix:{}", path.display()))).await.unwrap();
    let me = client.who_am_i(WhoAmIRequest {}).await.unwrap();
    assert_eq!((me.role(), me.proof()), (Role::Breakglass, Proof::Socket));
    assert_eq!(me.name, format!("uid:{}", rustix::process::geteuid().as_raw()));

    let good = ForceQuorumRequest {
        lost: vec!["euw1-a".to_owned(), "members/0000000000000003".to_owned()],
        expected_generation: Some(0),
        cluster: "shop-1".to_owned(),
        reason: "both regions are gone".to_owned(),
        validate_only: false,
    };
    let change = |change: fn(&mut ForceQuorumRequest)| {
        let mut request = good.clone();
        change(&mut request);
        client.force_quorum(request)
    };
    for (refusal, reason) in [
        (refused(change(|it| it.cluster = "shop".to_owned()).await), "BAD_FIELD"),
        (refused(change(|it| it.expected_generation = None).await), "BAD_FIELD"),
        (refused(change(|it| it.expected_generation = Some(1)).await), "GENERATION"),
        (refused(change(|it| it.lost.clear()).await), "BAD_FIELD"),
        (refused(change(|it| it.lost.push("mars".to_owned())).await), "UNKNOWN_NODE"),
        (refused(change(|it| it.reason.clear()).await), "BAD_FIELD"),
    ] {
        assert_eq!(refusal.reason, reason, "{refusal}");
    }
    assert!(cluster.orders.lock().unwrap().is_empty());
    assert_eq!(client.force_quorum(good.clone()).await.unwrap().generation, 1);
    let lost = [NodeId(2), NodeId(3)].into_iter().collect();
    let order = cluster.orders.lock().unwrap()[0].clone();
    assert_eq!(order.0, MembershipOrder::ForceQuorum { lost, expected_generation: 0 });
    assert_eq!(order.1.by.role, portolan_core::cluster::Role::Breakglass);

    // Not with any certificate, and not from loopback.
    let files = authority.files(folder.path(), "admin", None, &authority);
    let certified = Client::connect(&Target { tls: Some(files), ..at(server.address()) }).await.unwrap();
    assert_eq!(refused(certified.force_quorum(good.clone()).await).code, Code::PermissionDenied);
    let plain = serve(ApiOptions::new(loopback(), None), &cluster).await;
    let local = Client::connect(&at(plain.address())).await.unwrap();
    assert_eq!(refused(local.force_quorum(good).await).reason, "ROLE_MISSING");

    server.shutdown().await;
    assert!(!path.exists(), "the socket goes with its daemon");
}

#[tokio::test]
async fn a_socket_that_is_not_there_or_is_taken_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portolan.sock");
    let absent = Client::connect(&at(format!("unix:{}", path.display()))).await.err().unwrap();
    let ClientError::Unreachable(attempts) = absent else { panic!("{absent:?}") };
    assert!(matches!(&attempts[0].cause, Cause::Closed(problem) if problem.contains("listen.socket")), "{attempts:?}");

    let cluster = Ideal::founded();
    let options = || ApiOptions { socket: Some(path.clone()), ..ApiOptions::new(loopback(), None) };
    let _first = serve(options(), &cluster).await;
    let second = ApiServer::start_with(options(), Canned::new(Ok(canned::ok())), cluster).await;
    let Err(error @ ApiError::Socket { .. }) = second else { panic!("two daemons share no socket") };
    let text = error.to_string();
    assert!(text.contains("portolan.sock") && text.contains("listens on it already"), "{text}");
}

#[tokio::test]
async fn who_fills_the_port_does_not_lock_out_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portolan.sock");
    let options = ApiOptions { socket: Some(path.clone()), ..ApiOptions::new(loopback(), None) };
    let server = serve(options, &Ideal::founded()).await;
    let mut open = Vec::new();
    for _ in 0..300 {
        open.push(tokio::net::TcpStream::connect(server.address()).await.unwrap());
    }
    let client = Client::connect(&at(format!("unix:{}", path.display()))).await.unwrap();
    client.who_am_i(WhoAmIRequest {}).await.unwrap();
}
