//! What is looked at in a world over the API and DNS, and what must hold there.

use portolan::{
    api::{TlsFiles, proto},
    client::{Client, ClientError, Target},
};
use portolan_core::node::report::Status;

use super::{
    REGION_NAMES,
    load::{Seen, ask_once},
    place,
    world::{NODES, OPERATOR, World},
};
use crate::daemon::{ask::Question, eventually};

impl World {
    /// Does something over the API of a node.
    pub(super) async fn with_client<T: Send + 'static, F>(
        &self,
        n: usize,
        work: impl FnOnce(Client) -> F + Send + 'static,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>> + Send,
    {
        let target = Target { addresses: vec![self.nodes[n].control().to_string()], tls: Some(self.tls()), ..Target::default() };
        self.place(n).run(async move { work(Client::connect(&target).await?).await }).await
    }

    fn tls(&self) -> TlsFiles {
        let path = |name: &str| self.folder.path().join(name);
        TlsFiles { ca_file: path("ca.pem"), cert_file: path(&format!("{OPERATOR}.pem")), key_file: path(&format!("{OPERATOR}.key")) }
    }

    async fn status(&self, n: usize) -> Status {
        self.with_client(n, |client| async move { client.status(false).await }).await.unwrap()
    }

    /// The kinds of a node's notices.
    pub(super) async fn notices(&self, n: usize) -> Vec<String> {
        self.status(n).await.notices.into_iter().map(|notice| notice.kind).collect()
    }

    /// Who leads, as a node knows.
    pub(super) async fn leader(&self, n: usize) -> Option<usize> {
        let leader = self.members(n).await.into_iter().find(|member| member.leader)?;
        NODES.iter().position(|named| named.name == leader.node)
    }

    /// The term that a node knows of; it grows with each election.
    pub(super) async fn term(&self, n: usize) -> u64 {
        let list = |client: Client| async move { client.list_members(proto::ListMembersRequest::default()).await };
        self.with_client(n, list).await.unwrap().freshness.unwrap().term
    }

    /// Waits until a node knows who leads.
    pub(super) async fn led(&self, n: usize) -> usize {
        eventually("somebody leads", || self.leader(n), Option::is_some).await.unwrap()
    }

    pub(super) async fn members(&self, n: usize) -> Vec<proto::Member> {
        let list = |client: Client| async move { client.list_members(proto::ListMembersRequest::default()).await };
        self.with_client(n, list).await.map_or_else(|_| Vec::new(), |found| found.members)
    }

    /// The cluster, as a node knows it.
    pub(super) async fn cluster(&self, n: usize) -> proto::Cluster {
        let get = |client: Client| async move { client.get_cluster(proto::GetClusterRequest {}).await };
        self.with_client(n, get).await.unwrap().cluster.unwrap()
    }

    /// The orders that a node knows.
    pub(super) async fn overrides(&self, n: usize) -> Vec<proto::Override> {
        let list = |client: Client| async move { client.list_overrides(proto::ListOverridesRequest::default()).await };
        self.with_client(n, list).await.map_or_else(|_| Vec::new(), |found| found.overrides)
    }

    /// All nodes run, know each other and the plan, and know who leads.
    pub(super) async fn is_whole(&self, what: &str) {
        for n in self.running() {
            let look = || async {
                let members = self.members(n).await;
                let led = members.iter().any(|member| member.leader);
                let running = members.iter().filter(|member| member.plan_revision.is_some()).count();
                (members.len(), running, led)
            };
            let name = self.nodes[n].named.name;
            eventually(&format!("{what}, as {name} knows"), look, |seen| *seen == (NODES.len(), NODES.len(), true)).await;
        }
    }

    /// Waits until these nodes give clients of every region the address of their own.
    pub(super) async fn answers_are_local(&self, what: &str, nodes: &[usize]) {
        let wanted: Vec<String> = (0..place::REGIONS).map(|region| self.own(region)).collect();
        self.answers_are(what, nodes, &wanted.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    /// Waits until a node answers a question for a name with this address.
    pub(super) async fn answer_of_name_is(&self, what: &str, n: usize, name: &str, address: &str) {
        let dns = self.nodes[n].dns();
        let look = || {
            let question = Question::a(name).from([0, 0, 0, 0]);
            self.place(n).run(async move { question.ask(dns).await.data.join(" ") })
        };
        eventually(&format!("{what}, as {} answers", NODES[n].name), look, |given| given == address).await;
    }

    /// Waits until these nodes send no client to a region.
    pub(super) async fn are_withdrawn(&self, nodes: &[usize], region: usize) {
        for n in nodes {
            let dns = self.nodes[*n].dns();
            let look = || async {
                let reply = self.place(*n).run(ask_once(dns, region)).await;
                reply.map_or_else(|| "none".to_owned(), |reply| reply.data.join(" "))
            };
            let what = format!("{} withdraws {}", NODES[*n].name, REGION_NAMES[region]);
            eventually(&what, look, |given| *given != self.own(region)).await;
        }
    }

    /// The address that is answered for a region.
    pub(super) fn own(&self, region: usize) -> String {
        self.plan.v4(REGION_NAMES[region]).to_owned()
    }

    /// Waits until these nodes give clients of the regions these addresses.
    pub(super) async fn answers_are(&self, what: &str, nodes: &[usize], wanted: &[&str]) {
        for n in nodes {
            let dns = self.nodes[*n].dns();
            let look = || async {
                let mut given = Vec::new();
                for region in 0..place::REGIONS {
                    let reply = self.place(*n).run(ask_once(dns, region)).await;
                    given.push(reply.map_or_else(|| "none".to_owned(), |reply| reply.data.join(" ")));
                }
                given
            };
            eventually(&format!("{what}, as {} answers", self.nodes[*n].named.name), look, |given| given == wanted).await;
        }
    }

    /// Only clients of these regions were ever sent to another one.
    pub(super) fn only_moved(&self, seen: &Seen, regions: &[usize]) {
        for ((region, address), n) in &seen.addresses {
            assert!(
                regions.contains(region) || *address == self.own(*region),
                "{n} answers sent clients of {} to {address}",
                REGION_NAMES[*region]
            );
        }
    }

    /// Every order that was acknowledged is known at every node that runs, and happened once; all chains are intact and end alike.
    pub(super) async fn nothing_is_lost(&self) {
        for n in self.running() {
            let look = || async {
                let known = self.overrides(n).await;
                let is_known = |order: &&String| known.iter().any(|known| known.name.strip_prefix("overrides/") == Some(order.as_str()));
                self.acknowledged.iter().filter(|order| !is_known(order)).cloned().collect::<Vec<_>>()
            };
            let what = format!("{} knows every acknowledged order", self.nodes[n].named.name);
            eventually(&what, look, |missing: &Vec<String>| missing.is_empty()).await;
            let entries = self.run(n, &["audit", "list", "--limit", "1000", "-o", "json"]).await;
            let listed: serde_json::Value = serde_json::from_str(&entries.out).unwrap_or_else(|error| panic!("{error}: {entries:?}"));
            let listed = listed["entries"].as_array().unwrap();
            for order in &self.audited {
                let times = listed.iter().filter(|entry| entry["why"] == order.as_str()).count();
                assert_eq!(times, 1, "{order} stands {times} times in the chain of {}: {listed:?}", self.nodes[n].named.name);
            }
        }
        let heads = || async {
            let mut heads = Vec::new();
            for n in self.running() {
                let proof = self.run(n, &["audit", "verify", "-o", "json"]).await;
                let told: serde_json::Value = serde_json::from_str(&proof.out).unwrap_or_else(|error| panic!("{error}: {proof:?}"));
                assert!(proof.exit == 0 && told["intact"] == true, "{}: {proof:?}", self.nodes[n].named.name);
                heads.push(told["head"].to_string());
            }
            heads
        };
        // Nodes write themselves into the log now and then, so equal heads are a level.
        eventually("all chains end alike", heads, |heads| heads.windows(2).all(|two| two[0] == two[1])).await;
    }
}
