//! Metrics of real traffic, and traffic that means no good.

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, UdpSocket},
    runtime::Handle,
};

use super::{
    Bed, Question, eventually,
    plan::{AP, API, EU, Plan, US},
    three_sites,
};

/// The value of a metric line; `None`: no such line.
fn value(metrics: &str, line: &str) -> Option<f64> {
    metrics.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_show_queries_regions_and_probes() {
    let (plan, mut sites) = three_sites().await;
    let bed = Bed::start(&plan).await;
    sites[2].kill().await;
    eventually("ap-southeast-1 has left", || bed.api([127, 3, 0, 1]), |answer| answer != plan.v4(AP)).await;
    let before = bed.get("/metrics").await.1;
    let counted = |metrics: &str, transport, code| {
        value(metrics, &format!("portolan_dns_queries_total{{rcode=\"{code}\",transport=\"{transport}\"}}")).unwrap_or_default()
    };
    for _ in 0..40 {
        bed.ask(Question::a(API)).await;
    }
    for _ in 0..3 {
        assert_eq!(Question::a(API).ask_over_tcp(bed.dns()).await.code, "NOERROR");
    }
    assert_eq!(bed.ask(Question::a("example.com")).await.code, "REFUSED");
    assert_eq!(bed.ask(Question::a("none.gslb.example.net")).await.code, "NXDOMAIN");
    let after = bed.get("/metrics").await.1;
    for (transport, code, more) in [("udp", "NOERROR", 40.0), ("tcp", "NOERROR", 3.0), ("udp", "REFUSED", 1.0), ("udp", "NXDOMAIN", 1.0)] {
        let grown = counted(&after, transport, code) - counted(&before, transport, code);
        assert!((grown - more).abs() < 0.5, "{transport} {code} grew by {grown}: {after}");
    }
    for (region, up, endpoints) in [(US, 1.0, 2.0), (EU, 1.0, 2.0), (AP, 0.0, 0.0)] {
        assert_eq!(value(&after, &format!("portolan_region_up{{region=\"{region}\"}}")), Some(up), "{after}");
        assert_eq!(value(&after, &format!("portolan_endpoints_up{{region=\"{region}\"}}")), Some(endpoints), "{after}");
    }
    assert!(after.contains("portolan_probe_failures_total{category=\"connect\""), "{after}");
    assert!(value(&after, "portolan_table_generation").unwrap() >= 2.0, "{after}");
    // What was answered shows in the picture too.
    let served: Vec<bool> = bed.status().await.regions.iter().map(|region| region.share_served.is_some()).collect();
    assert_eq!(served, [true; 3]);
}

/// Pseudorandom octets (xorshift64), so that a failure comes again.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn packet(&mut self) -> Vec<u8> {
        let length = usize::try_from(self.next() % 600).unwrap();
        let mut packet: Vec<u8> = std::iter::repeat_with(|| self.next().to_be_bytes()[0]).take(length).collect();
        // Half of them look like questions at first sight: else most would end at the header.
        if self.next() % 2 == 0 {
            packet = Question::a(API).subnet("198.18.2.0/24").packet(0);
            let at = usize::try_from(self.next() % 1000).unwrap() % packet.len();
            packet[at] = self.next().to_be_bytes()[0];
            packet.truncate(packet.len() - usize::try_from(self.next() % 4).unwrap());
        }
        packet
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_traffic_costs_no_query_and_leaves_nothing_behind() {
    const PACKETS: usize = 5000;
    const CONNECTIONS: usize = 300;
    let plan = Plan::three_regions();
    let bed = Bed::start(&plan).await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();

    let mut half_open = Vec::new();
    for n in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(bed.dns()).await.unwrap();
        // Nothing, half a length, a length and a part of what it announces.
        stream.write_all(&[0, 200, 1, 2, 3][..[0, 1, 5][n % 3]]).await.unwrap();
        half_open.push(stream);
    }
    let (hostile, honest) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.2.0.1:0").await.unwrap());
    let (mut noise, question) = (Noise(0x9e37_79b9_7f4a_7c15), Question::a(API));
    let mut most = 0;
    for n in 0..PACKETS {
        let _ = hostile.send_to(&noise.packet(), bed.dns()).await.unwrap();
        if n % 20 == 19 {
            // One at a time behind the noise: the socket's buffer never fills, so each must be answered.
            assert_eq!(question.ask_on(&honest, bed.dns()).await.one(), plan.v4(EU));
            most = most.max(tasks());
            // The answers to the noise are taken off, as a client would.
            while hostile.try_recv(&mut [0; 4096]).is_ok() {}
        }
    }
    assert_eq!(question.from([127, 2, 0, 1]).ask_over_tcp(bed.dns()).await.one(), plan.v4(EU), "a whole query beside the half ones");
    assert!(most <= before + CONNECTIONS + 50, "{before} tasks before, {most} at most: packets leave tasks behind");
    drop(half_open);
    eventually("the connections' tasks are gone", || async { tasks() }, |now| *now <= before + 10).await;
    assert_eq!((bed.get("/livez").await.0, bed.get("/readyz").await.0), (200, 200));
    assert_eq!(bed.status().await.state.word(), "OK");
}
