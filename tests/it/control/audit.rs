//! The chain: listed, verified, exported, and found out when one octet of an export is changed.

use portolan::{
    api::{
        audit::verify_lines,
        proto::{AuditPlace, ExportAuditRequest, ListAuditEntriesRequest, VerifyAuditRequest},
    },
    client::Client,
};
use portolan_core::cluster::Change;
use tonic::Code;

use super::{Node, drain, refused};

async fn export(client: &Client, after_index: u64) -> Vec<String> {
    let mut stream = client.export_audit(ExportAuditRequest { after_index }).await.unwrap();
    let mut lines = Vec::new();
    while let Some(message) = stream.next().await.unwrap() {
        lines.extend(message.lines);
    }
    lines
}

#[tokio::test]
async fn links_are_listed_newest_first_in_pages() {
    let node = Node::start().await;
    let client = &node.client;
    client.create_override(drain("us-east-1")).await.unwrap();
    let page = |page_token: String| client.list_audit_entries(ListAuditEntriesRequest { page_size: 4, page_token });
    let first = page(String::new()).await.unwrap();
    let second = page(first.next_page_token.clone()).await.unwrap();
    let indices: Vec<u64> = first.entries.iter().chain(&second.entries).map(|link| link.index).collect();
    assert_eq!((indices, second.next_page_token.as_str()), (vec![6, 5, 4, 3, 2, 1], ""));
    let newest = &first.entries[0];
    assert_eq!((newest.who.as_str(), newest.role.as_str(), newest.outcome.as_str()), ("local", "admin", "accepted as o-6"));
    assert_eq!(first.head.unwrap().hash, newest.hash);
    assert_eq!(newest.prev, first.entries[1].hash);
}

#[tokio::test]
async fn the_chain_is_proved_and_goes_through_places_that_were_noted() {
    let node = Node::start().await;
    let client = &node.client;
    let noted = client.verify_audit(VerifyAuditRequest { known: None }).await.unwrap().head.unwrap();
    client.create_override(drain("us-east-1")).await.unwrap();
    let verify = |known: AuditPlace| client.verify_audit(VerifyAuditRequest { known: Some(known) });
    let proof = verify(noted.clone()).await.unwrap();
    assert_eq!((proof.intact, proof.problem.as_str(), proof.entries), (true, "", 6));
    assert_ne!(proof.head.unwrap(), noted);

    let other = AuditPlace { hash: "0".repeat(64), ..noted.clone() };
    let proof = verify(other).await.unwrap();
    assert!(!proof.intact && proof.problem.contains("one of the two was changed"), "{}", proof.problem);
    let ahead = verify(AuditPlace { index: 99, ..noted.clone() }).await.unwrap();
    assert!(!ahead.intact && ahead.problem.contains("ends at entry 6"), "{}", ahead.problem);
    let refusal = refused(verify(AuditPlace { hash: "XYZ".to_owned(), ..noted }).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "BAD_FIELD"));
}

#[tokio::test]
async fn an_export_verifies_and_one_changed_octet_is_found() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    client.create_override(drain("us-east-1")).await.unwrap();
    let lines = export(client, 0).await;
    assert_eq!(lines.len(), 6);
    let end = verify_lines(lines.iter().map(String::as_str), None).unwrap();
    assert_eq!(end, cluster.state().audit().head());

    // A later export goes on where the first one ended.
    client.create_override(drain("us-east-1")).await.unwrap();
    let more = export(client, end.index).await;
    assert_eq!(more.len(), 1);
    verify_lines(more.iter().map(String::as_str), Some(end)).unwrap();

    for line in 0..lines.len() {
        let mut changed = lines.clone();
        changed[line] = changed[line].replacen("accepted", "excepted", 1);
        let problem = verify_lines(changed.iter().map(String::as_str), None).unwrap_err();
        assert!(problem.starts_with(&format!("line {}:", line + 1)), "{problem}");
        changed.remove(line);
        assert_eq!(
            verify_lines(changed.iter().map(String::as_str), None).is_err(),
            line != 0 && line != 5,
            "a hole is found, a shorter list is not"
        );
    }
}

#[tokio::test]
async fn an_export_that_comes_too_late_is_told_where_the_links_begin() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    for _ in 0..portolan_core::cluster::limits::AUDIT_WINDOW {
        cluster.commit(Change::Expire);
    }
    let refusal = match client.export_audit(ExportAuditRequest { after_index: 2 }).await {
        Ok(_) => panic!("there is a gap"),
        Err(error) => refused::<()>(Err(error)),
    };
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::OutOfRange, "AUDIT_GAP"));
    assert!(refusal.message.contains("begin after entry 5"), "{}", refusal.message);
    assert_eq!(export(client, 5).await.len(), portolan_core::cluster::limits::AUDIT_WINDOW);
}
