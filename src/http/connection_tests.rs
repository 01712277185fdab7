//! Answers over a transport that takes a few bytes at a time.

#![allow(clippy::unwrap_used)]

use std::future::poll_fn;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::*;

impl Transport for DuplexStream {}

async fn answer(connection: &Connection<DuplexStream>, head: &[u8], body: &[u8]) {
    connection.begin_answer(|answer| answer.extend_from_slice(head));
    let mut piece = Piece::Bytes(Bytes::copy_from_slice(body));
    poll_fn(|context| connection.poll_answer(context, &mut piece))
        .await
        .unwrap();
    assert!(piece.is_empty());
}

#[tokio::test]
async fn head_and_body_arrive_in_order_however_they_are_sent() {
    let (near, mut far) = duplex(100);
    let connection = Connection::new(near);
    let bytes = |seed: usize, len: usize| (0..len).map(|at| (at * seed % 251) as u8).collect::<Vec<u8>>();
    let answers = [0, 1, 4096, 16 << 10, 100_000].map(|len| (bytes(3, 500), bytes(7, len)));
    let expected: Vec<u8> = answers
        .iter()
        .flat_map(|(head, body)| [&head[..], body].concat())
        .collect();
    let mut received = vec![0; expected.len()];
    let sent = async {
        for (head, body) in &answers {
            answer(&connection, head, body).await;
            assert_eq!(
                connection.0.borrow().held.capacity(),
                0,
                "a connection that waits holds no buffer"
            );
        }
    };
    let (_, read) = tokio::join!(sent, far.read_exact(&mut received));
    read.unwrap();
    assert!(received == expected);
}

#[tokio::test]
async fn a_broken_connection_keeps_what_it_has_not_sent() {
    let (near, far) = duplex(100);
    let connection = Connection::new(near);
    drop(far);
    connection.begin_answer(|answer| answer.extend_from_slice(&[1; 1000]));
    let mut piece = Piece::Bytes(Bytes::from_static(&[2; 1000]));
    let sent = poll_fn(|context| connection.poll_answer(context, &mut piece)).await;
    assert!(sent.is_err());
    // What is begun elsewhere begins empty.
    let (near, _far) = duplex(100);
    Connection::new(near).begin_answer(|answer| assert!(answer.is_empty()));
}
