//! Changes of a manager's configuration, one after the other.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::timeout};

use super::super::Trouble;

/// A change that is under way for longer than this is not waited for by a look, which then knows nothing.
const CHANGING: Duration = Duration::from_secs(5);

/// Taken by whoever changes something until that has an answer.
#[derive(Debug, Default)]
pub(in crate::engine) struct Turns(Arc<Mutex<()>>);

impl Turns {
    /// Makes a change when its turn has come. When the caller is dropped, what is on its way is over before the next one, and before the next look.
    pub(in crate::engine) async fn make(&self, change: impl Future<Output = Result<(), Trouble>> + Send + 'static) -> Result<(), Trouble> {
        let turn = Arc::clone(&self.0).lock_owned().await;
        let made = tokio::spawn(async move {
            let _turn = turn;
            change.await
        });
        made.await.map_err(|error| Trouble(format!("make a change: {error}")))?
    }

    /// Waits until none is under way: what is seen then is what came of the last one.
    pub(in crate::engine) async fn none(&self) -> Result<(), Trouble> {
        let none = timeout(CHANGING, self.0.lock()).await;
        none.map(drop).map_err(|_| Trouble("a change has no answer yet".to_owned()))
    }
}
