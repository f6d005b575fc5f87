//! What the server shares with the tasks that run beside it.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::tls::ServedCertificate;

/// Dropping it ends the tasks.
#[derive(Default)]
pub(super) struct Beside {
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Readiness,
    pub(super) served: Arc<ServedCertificate>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: JoinSet<()>,
}
