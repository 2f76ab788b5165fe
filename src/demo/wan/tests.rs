use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use super::*;
use crate::latest::Latest;

const DELAY: Duration = Duration::from_millis(40);
/// How long something may take that takes a moment on an idle machine.
const LIMIT: Duration = Duration::from_secs(30);
/// For so long nothing comes: many times what it would take.
const QUIET: Duration = Duration::from_millis(400);

/// A listener, and a way to it.
async fn far(path: Path) -> (TcpListener, Way, Relay) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let way = Way::new(path);
    let relay = Relay::open(way.clone(), listener.local_addr().unwrap(), 7).await.unwrap();
    (listener, way, relay)
}

/// Both ends of a connection over a way.
async fn pair(path: Path) -> (TcpStream, TcpStream, Way, Relay) {
    let (listener, way, relay) = far(path).await;
    let near = TcpStream::connect(relay.address()).await.unwrap();
    let (far, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    (near, far, way, relay)
}

async fn read<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut octets = [0; N];
    timeout(LIMIT, stream.read_exact(&mut octets)).await.expect("in time").unwrap();
    octets
}

/// Nothing is read for a while.
async fn is_quiet(stream: &mut TcpStream) -> bool {
    timeout(QUIET, stream.read_u8()).await.is_err()
}

#[tokio::test]
async fn octets_arrive_in_order_and_not_before_their_time() {
    let begun = Instant::now();
    let (mut near, mut far, way, _relay) = pair(Path::of(DELAY)).await;
    assert!(begun.elapsed() >= DELAY, "the request to connect is on its way, too");
    near.write_u8(1).await.unwrap();
    assert_eq!(read(&mut far).await, [1]);
    assert!(begun.elapsed() >= 3 * DELAY, "a round trip for the handshake, then the way there: {:?}", begun.elapsed());
    let asked = Instant::now();
    near.write_u8(2).await.unwrap();
    assert_eq!(read(&mut far).await, [2]);
    far.write_u8(3).await.unwrap();
    assert_eq!(read(&mut near).await, [3]);
    assert!(asked.elapsed() >= 2 * DELAY, "{:?}", asked.elapsed());

    way.change_there(|path| (path.delay, path.jitter) = (Duration::ZERO, 2 * DELAY));
    for n in 0..=u8::MAX {
        near.write_u8(n).await.unwrap();
    }
    let all: Vec<u8> = (0..=u8::MAX).collect();
    assert_eq!(read::<256>(&mut far).await.to_vec(), all, "none overtakes another");
}

#[tokio::test]
async fn what_is_lost_is_late_and_stops_what_follows() {
    let (mut near, mut far, way, _relay) = pair(Path::default()).await;
    way.change_there(|path| path.loss_permille = 1000);
    let sent = Instant::now();
    near.write_u8(1).await.unwrap();
    assert!(is_quiet(&mut far).await);
    way.change_there(|path| path.loss_permille = 0);
    near.write_u8(2).await.unwrap();
    assert_eq!(read(&mut far).await, [1, 2]);
    assert!(sent.elapsed() >= Duration::from_millis(200) * (1 + 2 + 4 + 8 + 16), "{:?}", sent.elapsed());
}

#[tokio::test]
async fn a_cut_is_silence_and_what_waited_arrives_when_it_is_mended() {
    let (mut near, mut far, way, _relay) = pair(Path::of(DELAY)).await;
    way.cut(true);
    near.write_all(b"there").await.unwrap();
    far.write_all(b"back").await.unwrap();
    assert!(is_quiet(&mut near).await && is_quiet(&mut far).await);
    way.cut(false);
    assert_eq!(&read(&mut far).await, b"there");
    assert_eq!(&read(&mut near).await, b"back");

    way.change_there(|path| path.is_cut = true);
    near.write_all(b"there").await.unwrap();
    far.write_all(b"back").await.unwrap();
    assert_eq!(&read(&mut near).await, b"back", "the other direction goes on");
    assert!(is_quiet(&mut far).await);
    // Nobody hears of an end either.
    drop(near);
    assert!(is_quiet(&mut far).await);
    way.change_there(|path| path.is_cut = false);
    assert_eq!(&read(&mut far).await, b"there");
    assert_eq!(timeout(LIMIT, far.read(&mut [0])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn connections_hang_while_any_direction_is_cut() {
    for is_there in [true, false] {
        let (listener, way, relay) = far(Path::of(DELAY)).await;
        let cut =
            |is_cut| if is_there { way.change_there(|path| path.is_cut = is_cut) } else { way.change_back(|path| path.is_cut = is_cut) };
        cut(true);
        // The relay hears of the cut a moment later; from then on nobody connects.
        let mut stood = Vec::new();
        let deadline = Instant::now() + LIMIT;
        let hanging = loop {
            assert!(Instant::now() < deadline, "a cut way takes no connections");
            let mut dial = Box::pin(TcpStream::connect(relay.address()));
            match timeout(QUIET, &mut dial).await {
                Ok(stream) => stood.push(stream.unwrap()),
                Err(_) => break dial,
            }
        };
        assert!(timeout(QUIET, TcpStream::connect(relay.address())).await.is_err(), "nor does it after one that hangs");
        drop(stood);
        cut(false);
        let mut near = timeout(LIMIT, hanging).await.expect("asked again, it stands").unwrap();
        near.write_u8(1).await.unwrap();
        let heard = timeout(LIMIT, async {
            loop {
                let (mut far, _) = listener.accept().await.unwrap();
                // Those that stood before the cut was complete have nothing to say.
                if let Ok(octet) = far.read_u8().await {
                    break octet;
                }
            }
        });
        assert_eq!(heard.await.unwrap(), 1);
        assert!(TcpStream::connect(relay.address()).await.is_ok(), "all is as before");
    }
}

#[tokio::test]
async fn both_ends_hear_how_the_other_ended() {
    let (mut near, far, _, _relay) = pair(Path::of(DELAY)).await;
    far.set_zero_linger().unwrap();
    drop(far);
    assert!(timeout(LIMIT, near.read(&mut [0])).await.unwrap().is_err(), "broken");

    let (mut near, mut far, _, _relay) = pair(Path::of(DELAY)).await;
    near.write_u8(1).await.unwrap();
    near.shutdown().await.unwrap();
    assert_eq!(read(&mut far).await, [1]);
    assert_eq!(timeout(LIMIT, far.read(&mut [0])).await.unwrap().unwrap(), 0);
    far.write_u8(2).await.unwrap();
    drop(far);
    assert_eq!(read(&mut near).await, [2], "half of it may end before the other");

    let (listener, _, relay) = self::far(Path::of(DELAY)).await;
    drop(listener);
    let mut near = TcpStream::connect(relay.address()).await.unwrap();
    let heard = timeout(LIMIT, near.read(&mut [0])).await.unwrap();
    assert!(heard.is_err(), "nobody listens there: {heard:?}");

    let (mut near, mut far, _, relay) = pair(Path::of(DELAY)).await;
    drop(relay);
    assert!(matches!(timeout(LIMIT, near.read(&mut [0])).await.unwrap(), Ok(0) | Err(_)));
    assert!(matches!(timeout(LIMIT, far.read(&mut [0])).await.unwrap(), Ok(0) | Err(_)));
}

#[tokio::test]
async fn who_sends_more_than_fits_waits() {
    let (mut near, mut far, way, _relay) = pair(Path::default()).await;
    way.cut(true);
    let piece = vec![7; 64 * 1024];
    let mut sent = 0;
    // The kernel's buffers on both sides of the relay hold some megabytes besides.
    while sent < 64 * 1024 * 1024 {
        match timeout(QUIET, near.write(&piece)).await {
            Ok(written) => sent += written.unwrap(),
            Err(_) => break,
        }
    }
    assert!(sent < 64 * 1024 * 1024, "{sent} octets on the way");
    way.cut(false);
    let mut arrived = vec![0; sent];
    timeout(LIMIT, far.read_exact(&mut arrived)).await.unwrap().unwrap();
    assert!(arrived.iter().all(|octet| *octet == 7));
}

#[tokio::test]
async fn a_place_is_reached_over_its_own_ways() {
    let mut wan = Wan::new(1);
    wan.join("us", "eu", Path::of(DELAY));
    wan.join("ap", "us", Path::of(2 * DELAY));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let target = listener.local_addr().unwrap();
    let from = async |wan: &mut Wan, place: &str| wan.detours(place, &[("us", target)]).await.unwrap();
    let (eu, ap, us) = (from(&mut wan, "eu").await, from(&mut wan, "ap").await, from(&mut wan, "us").await);
    assert_eq!(us.of(target), target, "there is no way within a place");
    assert!(eu.of(target) != target && ap.of(target) != target && eu.of(target) != ap.of(target));
    assert_eq!(from(&mut wan, "eu").await, eu, "nodes of one place share their relays");
    wan.way("eu", "us").unwrap().change_there(|path| path.loss_permille = 5);
    assert_eq!(wan.way("us", "eu").unwrap().back.latest().loss_permille, 5, "one way, seen from its other end");
    wan.cut("ap", true);
    assert!(wan.way("us", "ap").unwrap().is_closed() && !wan.way("us", "eu").unwrap().is_closed());
    assert!(wan.way("eu", "ap").is_none());
}
