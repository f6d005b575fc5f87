//! Requests and limits of the proxy: each wish replaces its own field only. In: defaults and wishes.
//! Out: a container's `resources`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as KubeQuantity;

use super::Draft;
use crate::annotations::Named;
use crate::config::Quantity;

impl Draft<'_> {
    pub(super) fn resources(&mut self) -> ResourceRequirements {
        let wishes = &self.wishes.proxy;
        let defaults = &self.config.resources;
        let cpu = Pair {
            what: "CPU",
            request: wishes.cpu.as_ref(),
            limit: wishes.cpu_limit.as_ref(),
        };
        let memory = Pair {
            what: "memory",
            request: wishes.memory.as_ref(),
            limit: wishes.memory_limit.as_ref(),
        };
        let (cpu, cpu_limit) = self.settle(&cpu, &defaults.cpu, defaults.cpu_limit.as_ref());
        let (memory, memory_limit) =
            self.settle(&memory, &defaults.memory, defaults.memory_limit.as_ref());
        let entry =
            |name: &str, quantity: Quantity| (name.to_owned(), KubeQuantity(quantity.to_string()));
        let limits: BTreeMap<_, _> = [("cpu", cpu_limit), ("memory", memory_limit)]
            .into_iter()
            .filter_map(|(name, limit)| limit.map(|limit| entry(name, limit)))
            .collect();
        ResourceRequirements {
            requests: Some([entry("cpu", cpu), entry("memory", memory)].into()),
            limits: (!limits.is_empty()).then_some(limits),
            claims: None,
        }
    }

    /// Kubernetes refuses a request above its limit. Two wishes that contradict each other are a
    /// mistake; a default that contradicts a wish gives way.
    fn settle(
        &mut self,
        wish: &Pair<'_>,
        request: &Quantity,
        limit: Option<&Quantity>,
    ) -> (Quantity, Option<Quantity>) {
        match (wish.request, wish.limit) {
            (Some(request), Some(limit)) => {
                if request.value > limit.value {
                    let reason = format!("is above the limit {} of {}", limit.value, limit.path);
                    self.mistakes
                        .add(&request.path, Some(request.value.as_str()), &reason);
                }
                (request.value.clone(), Some(limit.value.clone()))
            }
            (Some(Named { path, value }), None) => {
                let limit = limit.map(|limit| limit.max(value).clone());
                if limit.as_ref() == Some(value) {
                    self.warnings.push(format!(
                        "{path}: {value} is not below the default {} limit, which is raised to it",
                        wish.what
                    ));
                }
                (value.clone(), limit)
            }
            (None, Some(Named { value, .. })) => (request.min(value).clone(), Some(value.clone())),
            (None, None) => (request.clone(), limit.cloned()),
        }
    }
}

/// What a pod wishes of one resource.
struct Pair<'a> {
    what: &'static str,
    request: Option<&'a Named<Quantity>>,
    limit: Option<&'a Named<Quantity>>,
}
