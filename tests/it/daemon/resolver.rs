//! A resolver of the real world in front: unbound with its cache for client subnets.
//!
//! Proves that the scopes are right as a cache understands them: it gives an answer to all clients of its scope, and to no other.

use std::{net::SocketAddr, path::Path, time::Duration};

use tokio::{
    net::UdpSocket,
    process::{Child, Command},
    time::timeout,
};

use super::{
    Bed, Question, Reply, eventually,
    plan::{API, EU, US, ZONE},
    site::own_address,
    three_sites,
};

/// A running unbound; killed with the test.
struct Resolver {
    address: SocketAddr,
    _process: Child,
}

impl Resolver {
    async fn start(directory: &Path, upstream: SocketAddr) -> Self {
        // Free once it is dropped: the address is nobody else's.
        let address = UdpSocket::bind((own_address(), 0)).await.unwrap().local_addr().unwrap();
        let (ip, port) = (address.ip(), address.port());
        let (at, at_port) = (upstream.ip(), upstream.port());
        let config = format!(
            "server:\n\
             interface: {ip}\nport: {port}\naccess-control: 127.0.0.0/8 allow\n\
             do-daemonize: no\nchroot: \"\"\nusername: \"\"\npidfile: \"\"\nuse-syslog: no\ndirectory: \"{}\"\nnum-threads: 1\n\
             module-config: \"subnetcache iterator\"\nsend-client-subnet: 0.0.0.0/0\nsend-client-subnet: ::/0\n\
             client-subnet-always-forward: yes\nmax-client-subnet-ipv4: 24\n\
             do-not-query-localhost: no\ntarget-fetch-policy: \"0 0 0 0 0\"\nqname-minimisation: no\n\
             remote-control:\n control-enable: no\n\
             stub-zone:\n name: \"{ZONE}.\"\n stub-addr: {at}@{at_port}\n",
            directory.display()
        );
        let file = directory.join("unbound.conf");
        std::fs::write(&file, config).unwrap();
        let path = format!("{}:/usr/sbin", option_env!("PATH").unwrap_or("/usr/bin:/bin"));
        let process = Command::new("unbound")
            .env("PATH", path)
            .args(["-d", "-p", "-c"])
            .arg(&file)
            .stderr(std::fs::File::create(directory.join("unbound.log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("unbound is installed: make setup");
        let resolver = Self { address, _process: process };
        // Until it listens the kernel refuses; its own `version.bind` needs nobody else.
        eventually("unbound answers", || resolver.is_there(), |there| *there).await;
        resolver
    }

    async fn is_there(&self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.address).await.unwrap();
        let question = Question::a("localhost").recursive().packet(1);
        let mut answer = [0; 512];
        socket.send(&question).await.is_ok()
            && timeout(Duration::from_millis(500), socket.recv(&mut answer)).await.is_ok_and(|received| received.is_ok())
    }

    async fn api(&self, client: [u8; 4]) -> Reply {
        let reply = Question::a(API).recursive().from(client).ask(self.address).await;
        assert_eq!(reply.code, "NOERROR", "{reply:?}");
        reply
    }
}

/// Queries that reached the daemon for anything.
async fn n_queries(bed: &Bed) -> u64 {
    let (_, metrics) = bed.get("/metrics").await;
    let counts = metrics.lines().filter(|line| line.starts_with("portolan_dns_queries_total{"));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_resolver_each_client_network_gets_its_region_from_answer_and_cache() {
    let (mut plan, mut sites) = three_sites().await;
    // Long enough to look at the cache, short enough to wait for.
    plan.service = "steering: geo, ttl: { min: 4s, max: 4s }, slow_start: { for: 0s }".to_owned();
    let bed = Bed::start(&plan).await;
    let resolver = Resolver::start(bed.files.directory.path(), bed.dns()).await;

    let (us, eu) = (plan.v4(US), plan.v4(EU));
    assert_eq!((resolver.api([127, 1, 1, 1]).await.one(), resolver.api([127, 2, 1, 1]).await.one()), (us, eu));
    // Both networks are /16 in the plan, and so is the scope: clients far away in the same network are answered from the cache.
    let (before, start) = (n_queries(&bed).await, tokio::time::Instant::now());
    let (near, far) = (resolver.api([127, 1, 1, 2]).await, resolver.api([127, 1, 200, 3]).await);
    let other = resolver.api([127, 2, 77, 3]).await;
    if start.elapsed() < Duration::from_secs(2) {
        assert_eq!(n_queries(&bed).await, before, "answered from the cache");
        assert!(near.ttl <= Some(4) && far.ttl <= Some(4), "{near:?} {far:?}");
    }
    assert_eq!((near.one(), far.one(), other.one()), (us, us, eu));
    // A client subnet that was sent along counts for more than the asker's address, and its scope comes back.
    let sent = Question::a(API).recursive().subnet("198.18.2.0/24").ask(resolver.address).await;
    assert_eq!((sent.one(), sent.scope), (eu, Some(24)));

    sites[1].kill().await;
    eventually("eu-west-1 has left", || bed.api([127, 2, 1, 1]), |answer| answer != eu).await;
    let gone = tokio::time::Instant::now();
    let moved = eventually("the cache has let go", || resolver.api([127, 2, 1, 1]), |reply| reply.one() != eu).await;
    println!("the cached answer moved {:?} after the daemon's own", gone.elapsed());
    assert_eq!(moved.one(), bed.api([127, 2, 1, 1]).await);
    // Clocks of both sides count in whole seconds.
    assert!(gone.elapsed() < Duration::from_secs(4 + 6), "{:?}", gone.elapsed());
    assert_eq!(resolver.api([127, 1, 1, 1]).await.one(), us, "nobody else moved");
}
