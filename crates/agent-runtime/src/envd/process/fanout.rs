//! One process, any number of listeners.
//!
//! A listener that doesn't read holds the process's output up, as a full pipe would; one that is gone doesn't. Nobody
//! gets what was written before they came, except the end, which is kept.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::messages::{Data, End, Event};

/// How many events a listener may be behind.
const BACKLOG: usize = 16;

/// The listeners of one process.
#[derive(Debug, Default)]
pub(crate) struct Fanout {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    listeners: Vec<mpsc::Sender<Event>>,
    end: Option<End>,
}

impl Fanout {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens from now on; only the end when the process has ended. The stream of events ends after the end.
    pub(crate) fn listen(&self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let mut state = self.state();
        match &state.end {
            Some(end) => {
                // The channel is new and not full.
                let _ = sender.try_send(Event::End(end.clone()));
            }
            None => state.listeners.push(sender),
        }
        receiver
    }

    /// Tells every listener about output.
    pub(crate) async fn publish(&self, data: Data) {
        let listeners = self.state().listeners.clone();
        let mut anybody_left = false;
        for listener in &listeners {
            anybody_left |= listener.send(Event::Data(data.clone())).await.is_err();
        }
        if anybody_left {
            self.state().listeners.retain(|listener| !listener.is_closed());
        }
    }

    /// Tells every listener about the end, and those who come later.
    pub(crate) async fn finish(&self, end: End) {
        let listeners = {
            let mut state = self.state();
            state.end = Some(end.clone());
            std::mem::take(&mut state.listeners)
        };
        for listener in listeners {
            let _ = listener.send(Event::End(end.clone())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> End {
        End { exit_code: 0, exited: true, status: "exit status 0".into(), error: None }
    }

    #[tokio::test]
    async fn everybody_hears_what_comes_and_latecomers_hear_the_end() {
        let fanout = Fanout::default();
        let (mut first, gone) = (fanout.listen(), fanout.listen());
        drop(gone);
        fanout.publish(Data::Stdout(b"a".to_vec())).await;
        let mut second = fanout.listen();
        fanout.publish(Data::Stderr(b"b".to_vec())).await;
        fanout.finish(end()).await;
        let mut late = fanout.listen();
        assert_eq!(first.recv().await, Some(Event::Data(Data::Stdout(b"a".to_vec()))));
        for listener in [&mut first, &mut second] {
            assert_eq!(listener.recv().await, Some(Event::Data(Data::Stderr(b"b".to_vec()))));
        }
        for listener in [&mut first, &mut second, &mut late] {
            assert_eq!(listener.recv().await, Some(Event::End(end())));
            assert_eq!(listener.recv().await, None);
        }
    }
}
