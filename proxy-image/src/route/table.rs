//! Finds the route of a request among those behind one listener.
//!
//! In: routes. Out: the one that a request's host and head belong to. Sends nothing.

use std::sync::Arc;

use super::Route;
use crate::config::{Host, RequestHead};

/// The routes behind one listener, in the order in which they are tried.
#[derive(Default)]
pub(crate) struct Table {
    routes: Vec<Arc<Route>>,
    one_host: bool,
    /// Whether every request is sent on as it is, by nothing but its first line and `Host`.
    pub(crate) usual: bool,
    /// The route of a port that hands its requests to other routes.
    own: Option<Arc<Route>>,
    /// Takes the requests for hosts that no route is for.
    otherwise: Option<Arc<Route>>,
}

impl Table {
    /// Orders routes: names before wildcards, longer wildcards before shorter ones.
    pub(crate) fn new(mut routes: Vec<Arc<Route>>) -> Self {
        let host = |route: &Route| route.host.as_ref().map(|host| host.name.clone());
        routes.sort_by_key(|route| {
            let host = route.host.as_ref();
            host.map_or(0, |host| host.name.precedence())
        });
        let first = routes.first().map(|route| host(route));
        let one_host = routes.iter().all(|route| Some(host(route)) == first)
            && !matches!(first, Some(Some(Host::Wildcard(_))));
        Self {
            usual: routes.iter().all(|route| route.is_usual()),
            routes,
            one_host,
            own: None,
            otherwise: None,
        }
    }

    /// Makes the table of redirected connections: of other hosts' requests, too, a route is known.
    pub(crate) fn or_else(routes: Vec<Arc<Route>>, otherwise: Arc<Route>) -> Self {
        Self {
            one_host: false,
            otherwise: Some(otherwise),
            ..Self::new(routes)
        }
    }

    /// Makes the table of a port that hands its requests to other routes.
    pub(crate) fn behind(own: Arc<Route>, routes: Vec<Arc<Route>>) -> Self {
        Self {
            own: Some(own),
            ..Self::new(routes)
        }
    }

    /// Finds the route of a request: by host, unless all routes have the same, then by rank, then by
    /// fit. `host` comes without a port.
    pub(crate) fn find(&self, host: &str, head: &RequestHead<'_>) -> Option<&Arc<Route>> {
        if self.one_host {
            return best(self.routes.iter(), head);
        }
        let of_host = |route: &&Arc<Route>| {
            let own = route.host.as_ref();
            own.is_some_and(|own| own.name.matches(host))
        };
        let Some(first) = self.routes.iter().find(of_host) else {
            return self.otherwise.as_ref();
        };
        let chosen = first.host.as_ref().map(|host| &host.name);
        let same = |route: &&Arc<Route>| route.host.as_ref().map(|host| &host.name) == chosen;
        best(self.routes.iter().filter(same), head)
    }

    /// Returns the route of a connection that is not looked into, or not yet.
    pub(crate) fn only(&self) -> Option<&Arc<Route>> {
        self.own.as_ref().or_else(|| self.routes.first())
    }
}

/// Of routes that stand alike, the first.
fn best<'a>(
    routes: impl Iterator<Item = &'a Arc<Route>>,
    head: &RequestHead<'_>,
) -> Option<&'a Arc<Route>> {
    let standing = routes.filter_map(|route| Some((route.standing(head)?, route)));
    let best = standing.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, route)| route)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;
    use crate::config::EgressRoute;
    use crate::metrics::Metrics;

    fn table(yaml: &str) -> Table {
        let routes = EgressRoute::parse_list(yaml, "egress").unwrap();
        let metrics = Metrics::new();
        Table::new(
            routes
                .iter()
                .map(|route| Arc::new(Route::egress(route, None, &metrics, 1)))
                .collect(),
        )
    }

    fn found(table: &Table, host: &str, path: &str) -> String {
        let head = RequestHead {
            method: &Method::GET,
            path,
            authority: host,
            headers: &HeaderMap::new(),
        };
        table
            .find(host, &head)
            .map_or_else(|| "none".to_owned(), |route| route.name.clone())
    }

    #[test]
    fn a_listener_with_one_host_takes_any_host() {
        let table = table("a.example");
        assert_eq!(found(&table, "127.0.0.1", "/"), "a.example:80");
        assert_eq!(found(&table, "", "/x"), "a.example:80");
    }

    #[test]
    fn several_hosts_are_told_apart_by_name() {
        let table = table("*.example, *.b.example, a.example");
        assert_eq!(found(&table, "a.example", "/"), "a.example:80");
        assert_eq!(found(&table, "A.Example.", "/"), "a.example:80");
        assert_eq!(found(&table, "x.b.example", "/"), "*.b.example:80");
        assert_eq!(found(&table, "x.example", "/"), "*.example:80");
        assert_eq!(found(&table, "c.test", "/"), "none");
    }

    #[test]
    fn the_longest_prefix_wins() {
        let table = table(
            "[{host: a.example, match: [{pathPrefix: /a}]},
              {host: a.example, match: [{pathPrefix: /a/b}, {pathPrefix: /c}]}]",
        );
        assert_eq!(found(&table, "a.example", "/a/x"), "a.example:80/a");
        assert_eq!(found(&table, "a.example", "/a/b/x"), "a.example:80/a/b");
        assert_eq!(found(&table, "a.example", "/c"), "a.example:80/a/b");
        assert_eq!(found(&table, "a.example", "/d"), "none");
    }

    #[test]
    fn an_order_wins_over_the_better_fit() {
        let table = table(
            "[{host: a.example, rank: 1, match: [{path: /a/b}]},
              {host: a.example, match: [{pathStart: /a}]}, {host: a.example, rank: 2}]",
        );
        assert_eq!(found(&table, "a.example", "/a/b"), "a.example:80/a");
        assert_eq!(found(&table, "a.example", "/x"), "a.example:80");
    }

    #[test]
    fn any_host_comes_last_and_takes_what_is_left() {
        let table = table("[{host: '*', address: b.example}, {host: a.example}]");
        assert_eq!(found(&table, "a.example", "/"), "a.example:80");
        assert_eq!(found(&table, "c.example", "/"), "*:80");
    }
}
