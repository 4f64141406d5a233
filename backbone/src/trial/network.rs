//! A network that does what a test says: names that stand for what the test wants, and a record of every
//! address that was connected to.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokio::net::TcpStream;

use crate::http::Network;

/// Names and connections of a test.
#[derive(Default)]
pub struct Scripted {
    /// What a name stands for, look-up by look-up; the last answer stays.
    names: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    dialled: Mutex<Vec<SocketAddr>>,
    /// Where a connection ends up although another address was dialled.
    diverted: Mutex<HashMap<SocketAddr, SocketAddr>>,
}

impl Scripted {
    /// A name stands for these addresses.
    pub fn name(&self, name: &str, addresses: &[IpAddr]) {
        self.rebinding(name, &[addresses]);
    }

    /// A name stands for something else at each look-up.
    pub fn rebinding(&self, name: &str, answers: &[&[IpAddr]]) {
        let mut answers: Vec<Vec<IpAddr>> = answers.iter().map(|answer| answer.to_vec()).collect();
        answers.reverse();
        lock(&self.names).insert(name.to_owned(), answers);
    }

    /// Whoever dials `from` is connected to `to`.
    pub fn divert(&self, from: SocketAddr, to: SocketAddr) {
        lock(&self.diverted).insert(from, to);
    }

    /// Every address that was dialled.
    pub fn dialled(&self) -> Vec<SocketAddr> {
        lock(&self.dialled).clone()
    }
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Network for Scripted {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut names = lock(&self.names);
        let answers = names.get_mut(name.trim_end_matches('.')).ok_or(io::ErrorKind::NotFound)?;
        let last = answers.last().cloned().unwrap_or_default();
        if answers.len() > 1 {
            answers.pop();
        }
        Ok(last)
    }

    async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        lock(&self.dialled).push(to);
        let diverted = lock(&self.diverted).get(&to).copied();
        match diverted {
            Some(elsewhere) => TcpStream::connect(elsewhere).await,
            None if to.ip().is_loopback() => TcpStream::connect(to).await,
            // The internet of a test is empty.
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}
