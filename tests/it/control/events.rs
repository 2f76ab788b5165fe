//! Events: from a token on, once each, and never with a silent gap.

use portolan::api::{
    event_log::EVENTS_MAX,
    proto::{ListEventsRequest, WatchEventsRequest, event_service_client::EventServiceClient},
};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{Node, drain, refused};

#[tokio::test]
async fn events_are_listed_from_a_token_on() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    let first = client.list_events(ListEventsRequest::default()).await.unwrap();
    assert_eq!((first.events.len(), first.node.as_str(), first.more), (5, "use1-a", false));
    client.create_override(drain("us-east-1")).await.unwrap();
    cluster.tell("leader euw1-a");
    let next = client.list_events(ListEventsRequest { token: first.token.clone(), page_size: 1 }).await.unwrap();
    assert!(next.more && next.events[0].text.contains("drain of region us-east-1"), "{next:?}");
    let last = client.list_events(ListEventsRequest { token: next.token, page_size: 0 }).await.unwrap();
    assert_eq!((last.events[0].text.as_str(), last.events[0].sequence, last.more), ("leader euw1-a", 7, false));
    let newest = client.list_events(ListEventsRequest { token: String::new(), page_size: 1 }).await.unwrap();
    assert_eq!(newest.events[0].sequence, 7);
}

#[tokio::test]
async fn a_watcher_gets_what_happens_after_its_token() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    let mut stream = client.watch_events(WatchEventsRequest::default()).await.unwrap();
    let begin = stream.next().await.unwrap().unwrap();
    assert!(begin.events.is_empty(), "from now on");
    cluster.tell("one");
    let message = stream.next().await.unwrap().unwrap();
    assert_eq!(message.events[0].text, "one");
    drop(stream);
    cluster.tell("two");
    let mut again = client.watch_events(WatchEventsRequest { token: message.token }).await.unwrap();
    assert_eq!(again.next().await.unwrap().unwrap().events[0].text, "two", "nothing is lost between two streams");
}

#[tokio::test]
async fn a_token_of_another_node_or_of_long_ago_says_where_to_go_on() {
    let node = Node::start().await;
    let (server, client, cluster) = (&node.server, &node.client, &node.cluster);
    let list = |token: &str| client.list_events(ListEventsRequest { token: token.to_owned(), page_size: 0 });
    let refusal = refused(list("euw1-a.1.3").await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::OutOfRange, "TOKEN_OUT_OF_RANGE"));
    assert!(refusal.remedy.contains("newest"), "{}", refusal.remedy);
    assert_eq!(refused(list("use1-a.0.3").await).reason, "TOKEN_OUT_OF_RANGE");
    assert_eq!(refused(list("nonsense").await).reason, "BAD_FIELD");
    for i in 0..EVENTS_MAX {
        cluster.tell(&i.to_string());
    }
    let channel = tonic::transport::Endpoint::try_from(format!("http://{}", server.address())).unwrap().connect().await.unwrap();
    let request = WatchEventsRequest { token: "use1-a.1.4".to_owned() };
    let status = EventServiceClient::new(channel).watch_events(request).await.unwrap_err();
    let info = status.get_details_error_info().unwrap();
    assert_eq!((status.code(), info.metadata["oldest"].as_str()), (Code::OutOfRange, "use1-a.1.5"));
    let events = list(&info.metadata["oldest"]).await.unwrap().events;
    assert_eq!(events[0].sequence, 6, "the hint is good");
}

#[tokio::test]
async fn a_reader_that_falls_out_of_the_ring_is_told_in_the_stream() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    let mut stream = client.watch_events(WatchEventsRequest::default()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    // All at once: no turn of the watcher lies between, and the ring holds less than that.
    let mut seen = Vec::new();
    for i in 0..=3 * EVENTS_MAX {
        cluster.tell(&i.to_string());
    }
    let end = loop {
        match stream.next().await {
            Ok(Some(message)) => seen.extend(message.events.into_iter().map(|event| event.sequence)),
            Ok(None) => panic!("it ends with a reason"),
            Err(error) => break refused::<()>(Err(error)),
        }
    };
    assert_eq!(end.reason, "TOKEN_OUT_OF_RANGE");
    assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "no gap before it is told");
}
