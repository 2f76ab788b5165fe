//! The nodes: shown with what each runs, and who votes changed by name and not by guess.

use portolan::api::{
    proto::{
        AddMemberRequest, BackupRequest, BootstrapRequest, GetClusterRequest, ListMembersRequest, Member, RemoveMemberRequest,
        ReplaceMemberRequest, TransferLeaderRequest, backup_response::Part, member::Role,
    },
    source::cluster::MembershipOrder,
};
use portolan_core::{
    cluster::{Change, FEATURE_LEVEL, Node as Registered, NodeId, NodeRole, State},
    model::ids::Label,
};
use tonic::Code;

use super::{Node, refused};

fn observer(id: u64, name: &str) -> Change {
    Change::RecordNode(Registered {
        id: NodeId(id),
        name: Label::new(name),
        region: Label::new("us-east-1"),
        role: NodeRole::Observer,
        version: "0.1.0".to_owned(),
        feature_level: 1,
        plan_revision: Some(1),
        address: "192.0.2.9:8444".to_owned(),
    })
}

#[tokio::test]
async fn the_cluster_is_shown_with_every_node_and_what_it_runs() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    cluster.commit(observer(9, "use1-b"));
    let answer = client.get_cluster(GetClusterRequest {}).await.unwrap();
    let shown = answer.cluster.unwrap();
    assert_eq!((shown.id.as_str(), shown.generation, shown.feature_level, shown.plan_revision), ("shop-1", 0, 1, Some(1)));
    assert_eq!((shown.voters, shown.voters_reachable, shown.nodes, shown.plan_digest.len()), (3, Some(3), 4, 12));
    assert_eq!(shown.audit_head.unwrap().index, 6);

    let members = client.list_members(ListMembersRequest::default()).await.unwrap().members;
    let row =
        |it: &Member| format!("{} {} {:?} {} {}", it.name, it.node, it.role(), it.leader, it.plan_revision.map_or(0, |revision| revision));
    assert_eq!(
        members.iter().map(row).collect::<Vec<_>>(),
        [
            "members/0000000000000003 aps1-a Voter false 0",
            "members/0000000000000002 euw1-a Voter true 0",
            "members/0000000000000001 use1-a Voter false 0",
            "members/0000000000000009 use1-b Observer false 1",
        ]
    );
    assert_eq!((members[0].reachable, members[1].reachable), (Some(false), Some(true)));
    let offset = members[0].clock_offset.unwrap();
    assert_eq!((offset.seconds, offset.nanos), (-1, -500_000_000), "one and a half seconds behind");
    assert_eq!(members[3].role(), Role::Observer);
}

#[tokio::test]
async fn a_change_of_the_membership_names_its_nodes_and_its_reason() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    cluster.commit(observer(9, "use1-b"));
    let reason = || "new disk".to_owned();
    let transfer = TransferLeaderRequest { member: "use1-a".to_owned(), reason: reason(), validate_only: false };
    assert_eq!(client.transfer_leader(transfer).await.unwrap().leader, "use1-a");
    client.transfer_leader(TransferLeaderRequest { reason: reason(), ..Default::default() }).await.unwrap();
    let add = AddMemberRequest { member: "members/0000000000000009".to_owned(), reason: reason(), validate_only: true };
    assert_eq!(client.add_member(add).await.unwrap().voters.len(), 3);
    let replace =
        ReplaceMemberRequest { member: "aps1-a".to_owned(), replacement: "use1-b".to_owned(), reason: reason(), validate_only: false };
    client.replace_member(replace.clone()).await.unwrap();
    let made = client.bootstrap(BootstrapRequest { reason: reason(), validate_only: true }).await.unwrap();
    assert_eq!(made.voters.len(), 3);
    let orders: Vec<_> = cluster.orders.lock().unwrap().clone();
    let expected = [
        MembershipOrder::Transfer(Some(NodeId(1))),
        MembershipOrder::Transfer(None),
        MembershipOrder::Add(NodeId(9)),
        MembershipOrder::Replace { old: NodeId(3), new: NodeId(9) },
        MembershipOrder::Bootstrap,
    ];
    assert_eq!(orders.iter().map(|(order, _)| order.clone()).collect::<Vec<_>>(), expected);
    assert!(orders.iter().all(|(_, asked)| asked.by.name == "local" && asked.reason == "new disk"));
    assert_eq!(orders.iter().map(|(_, asked)| asked.validate_only).collect::<Vec<_>>(), [false, false, true, false, true]);
    assert_eq!(refused(client.bootstrap(BootstrapRequest::default()).await).reason, "BAD_FIELD", "without a reason");

    let remove =
        |member: &str, reason: &str| RemoveMemberRequest { member: member.to_owned(), reason: reason.to_owned(), validate_only: false };
    let refusal = refused(client.remove_member(remove("euw1-a", "old")).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "MEMBERSHIP"));
    assert!(refusal.message.contains("hand leadership on first"), "{}", refusal.message);
    let refusal = refused(client.remove_member(remove("mars", "old")).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "UNKNOWN_NODE"));
    assert_eq!(refused(client.remove_member(remove("aps1-a", " ")).await).reason, "BAD_FIELD");
    let same = ReplaceMemberRequest { replacement: replace.member.clone(), ..replace };
    assert_eq!(refused(client.replace_member(same).await).reason, "BAD_FIELD");
}

#[tokio::test]
async fn two_nodes_of_one_name_are_told_apart_by_their_ids() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    cluster.commit(observer(9, "aps1-a"));
    let remove = |member: &str| RemoveMemberRequest { member: member.to_owned(), reason: "old".to_owned(), validate_only: false };
    let refusal = refused(client.remove_member(remove("aps1-a")).await);
    assert_eq!(refusal.reason, "UNKNOWN_NODE");
    assert!(refusal.message.contains("members/0000000000000003, members/0000000000000009"), "{}", refusal.message);
    client.remove_member(remove("members/0000000000000009")).await.unwrap();
}

#[tokio::test]
async fn a_backup_is_the_agreed_state_whole() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    let mut stream = client.backup(BackupRequest {}).await.unwrap();
    let Some(Part::Manifest(manifest)) = stream.next().await.unwrap().unwrap().part else { panic!("the manifest comes first") };
    let mut octets = Vec::new();
    while let Some(message) = stream.next().await.unwrap() {
        let Some(Part::Chunk(chunk)) = message.part else { panic!("then pieces only") };
        octets.extend(chunk);
    }
    assert_eq!((manifest.cluster.as_str(), manifest.applied_index, manifest.octets), ("shop-1", 5, octets.len() as u64));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &octets);
    let digest: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(manifest.sha256, digest);
    assert_eq!(State::restore(&octets, FEATURE_LEVEL).unwrap(), cluster.state());
}
