#!/usr/bin/env bash
# Acceptance of mtls-injector against a real cluster: installs it, puts workloads of every kind
# behind it, takes it down, restarts it, rotates certificates, and says `N passed, N failed`.
#
# usage: scripts/e2e.sh [PATTERN]     run every check, or those whose name contains PATTERN
#
# environment:
#   KUBECONFIG, KUBECONTEXT   the cluster; its nodes must be able to get the images
#   MTLS_INJECTOR             the program (default: a built one in target, else on the PATH)
#   IMAGE, PROXY_IMAGE        the images (default: the released ones of this version)
#   INIT_IMAGE                the image that redirects (default: PROXY_IMAGE with -init after its name)
#   PATIENCE=180              how many seconds anything may take
#   BURST=15                  how many seconds pods are created while something changes
#   KEEP=1                    leave everything running for a look
#
# Images without a registry: scripts/image, then `ctr --namespace k8s.io images import FILE` on each
# node; all pods here pull only what is not present. Running it twice is safe. It uses namespaces
# e2e-partner, e2e-shop, e2e-captured and e2e-plain, and removes them and what it installed.
set -euo pipefail
cd "$(dirname "$0")/.."

system=mtls-injector-system
patience=${PATIENCE:-180}
burst=${BURST:-15}
namespaces="e2e-partner e2e-shop e2e-captured e2e-plain"
pattern=${1:-}
without_dns=
passed=0
failed=0
work=$(mktemp -d)
names_of_containers='{range .spec.containers[*]}{.name}{"\n"}{end}{range .spec.initContainers[*]}{.name}{"\n"}{end}'

main() {
    find_tools
    trap finish EXIT
    prepare
    check "install: a second apply changes nothing" second_apply_is_a_no_op
    check "install: the registration trusts the injector" registration_has_our_authority
    check "workloads: Deployment" workload_calls deployment
    check "workloads: StatefulSet" workload_calls statefulset
    check "workloads: DaemonSet" workload_calls daemonset
    check "workloads: Job ends" job_ends
    check "workloads: Job of a CronJob ends" cron_job_ends
    check "workloads: Job ends where its proxy is an ordinary container" classic_job_ends
    check "workloads: run in a restricted namespace" namespace_is_restricted
    check "inbound: only clients with a certificate reach the app" inbound_demands_a_certificate
    check "redirect: the app calls an external host by its name" redirect_takes_calls
    check "redirect: STRICT has no way around it" redirect_guards_the_port
    check "redirect: kubelet's probes of the app stay green" redirect_answers_probes
    check "redirect: a namespace that forbids it says so" redirect_is_forbidden
    check "opt-in: the label of a pod" label_opts_in
    check "opt-in: an annotation alone does nothing" annotation_alone_does_nothing
    check "opt-out: the label and the annotation of a pod" pod_opts_out
    check "denial: names the annotation and the mistake" denial_explains
    check "denial: an Event tells the owner" denial_is_an_event
    check "rotation: a new certificate is used without a restart" certificate_rotates
    check "reload: an edited proxy-config reaches the running proxy" edit_reaches_the_proxy
    check "reload: new defaults of a namespace reach running pods" defaults_reach_running_pods
    check "life: a tampered caBundle is healed" ca_bundle_heals
    check "life: a deleted certificate Secret is made again" secret_comes_back
    check "life: a new authority loses no admission" new_authority_loses_nothing
    check "life: replicas that begin with nothing share one authority" replicas_share_one_authority
    check "life: rolling restart while pods are created" rolling_restart_loses_nothing
    check "life: without injectors only pods that asked are refused" down_fails_closed
    check "cluster-wide: an annotation is enough" cluster_wide_reads_annotations
    check "policy: refuses a pod that asked where nobody listens" policy_refuses
}

# --- the checks: each runs in a shell of its own and fails with its first failing command ---

second_apply_is_a_no_op() {
    local before after
    before=$(generations)
    install_injector | tee "$work/second"
    after=$(generations)
    [ "$before" = "$after" ]
    refused grep -E ' (created|configured)$' "$work/second"
}

generations() {
    k get -n $system deployment,networkpolicy,poddisruptionbudget -o jsonpath='{range .items[*]}{.kind}={.metadata.generation} {end}'
    k get mutatingwebhookconfiguration mtls-injector -o jsonpath='{.metadata.generation}'
}

registration_has_our_authority() {
    local entries bundles
    entries=$(k get mutatingwebhookconfiguration mtls-injector -o jsonpath='{range .webhooks[*]}{.name}{"\n"}{end}' | wc -l)
    bundles=$(k get mutatingwebhookconfiguration mtls-injector -o jsonpath='{range .webhooks[*]}{.clientConfig.caBundle}{"\n"}{end}' | grep -c .)
    [ "$entries" -ge 2 ]
    [ "$entries" = "$bundles" ]
}

workload_calls() {
    k -n e2e-shop rollout status "$1/$1" --timeout="${patience}s"
    local pod
    pod=$(first_pod e2e-shop "$1")
    has_proxy e2e-shop "$pod"
    call "$pod" http://external-system.e2e-partner.svc/secured-endpoint | tee "$work/$1"
    grep -F '"subject":"CN=sample-app"' "$work/$1"
}

job_ends() {
    k -n e2e-shop wait --for=condition=complete job/job --timeout="${patience}s"
    has_proxy e2e-shop "$(first_pod e2e-shop job)"
    k -n e2e-shop logs job/job -c app | grep -F '"subject":"CN=sample-app"'
}

cron_job_ends() {
    k -n e2e-shop delete job cronjob-now --ignore-not-found
    k -n e2e-shop create job cronjob-now --from=cronjob/cronjob
    k -n e2e-shop wait --for=condition=complete job/cronjob-now --timeout="${patience}s"
    k -n e2e-shop logs job/cronjob-now -c app | grep -F '"subject":"CN=sample-app"'
}

# On a cluster of today's versions the proxy is an ordinary container only where a pod says so.
classic_job_ends() {
    local ended=0
    k -n e2e-shop delete job classic --ignore-not-found
    install_option --end-jobs
    image_set scripts/e2e/classic-job.yaml | addresses_set | k -n e2e-shop apply -f -
    k -n e2e-shop wait --for=condition=complete job/classic --timeout="${patience}s" || ended=$?
    remove_option end-jobs
    [ $ended -eq 0 ]
    has_proxy e2e-shop "$(first_pod e2e-shop classic)"
    k -n e2e-shop logs job/classic -c app | grep -F '"subject":"CN=sample-app"'
}

namespace_is_restricted() {
    [ "$(k get namespace e2e-shop -o jsonpath='{.metadata.labels.pod-security\.kubernetes\.io/enforce}')" = restricted ]
    # Nothing that the checks above started was refused or is not running.
    [ -z "$(k -n e2e-shop get events --field-selector reason=FailedCreate -o name)" ]
}

inbound_demands_a_certificate() {
    k -n e2e-shop rollout status deployment/inventory --timeout="${patience}s"
    k -n e2e-shop rollout status deployment/inventory-client --timeout="${patience}s"
    local client stranger
    client=$(first_pod e2e-shop inventory-client)
    call "$client" http://inventory.e2e-shop.svc/stock | tee "$work/inbound"
    grep -F 'x-forwarded-client-cert' "$work/inbound"
    grep -F 'sample-app' "$work/inbound"
    stranger=$(first_pod e2e-partner external-system)
    refused call_from e2e-partner "$stranger" "http://$(service_address e2e-shop inventory):8443/stock"
}

redirect_takes_calls() {
    k -n e2e-captured rollout status deployment/redirected --timeout="${patience}s"
    local pod
    pod=$(first_pod e2e-captured redirected)
    k -n e2e-captured get pod "$pod" -o jsonpath="$names_of_containers" | grep -x mtls-init
    k -n e2e-captured get pod "$pod" -o jsonpath='{.spec.hostAliases[*].ip}' >"$work/aliases"
    refused grep -E '(^| )127\.' "$work/aliases"
    call_from e2e-captured "$pod" http://external-system.e2e-partner.svc/secured-endpoint | tee "$work/redirect"
    grep -F '"subject":"CN=sample-app"' "$work/redirect"
}

redirect_guards_the_port() {
    k -n e2e-captured rollout status deployment/redirected --timeout="${patience}s"
    k -n e2e-captured rollout status deployment/redirected-client --timeout="${patience}s"
    local client stranger
    client=$(first_pod e2e-captured redirected-client)
    call_from e2e-captured "$client" http://redirected.e2e-captured.svc:8080/stock | tee "$work/guarded"
    grep -F 'x-forwarded-client-cert' "$work/guarded"
    stranger=$(first_pod e2e-partner external-system)
    refused call_from e2e-partner "$stranger" "http://$(service_address e2e-captured redirected):8080/stock"
}

# A liveness probe that failed twice would have restarted the app.
redirect_answers_probes() {
    k -n e2e-captured rollout status deployment/redirected --timeout="${patience}s"
    local pod
    pod=$(first_pod e2e-captured redirected)
    [ "$(k -n e2e-captured get pod "$pod" -o jsonpath='{.spec.containers[0].livenessProbe.httpGet.path}')" = /app-health/app/livez ]
    within "$patience" runs_for 10 e2e-captured "$pod"
    k -n e2e-captured wait --for=condition=Ready "pod/$pod" --timeout="${patience}s"
    [ "$(restarts_of "$pod" e2e-captured | cut -d ' ' -f 1)" = 0 ]
}

redirect_is_forbidden() {
    pod_of annotate mtls-injector.io/capture=redirect
    refused create e2e-shop 2>"$work/forbidden"
    cat "$work/forbidden"
    grep -F 'pod-security.kubernetes.io/enforce=restricted' "$work/forbidden"
}

label_opts_in() {
    pod_of label mtls-injector.io/inject=true
    injected e2e-plain
}

annotation_alone_does_nothing() {
    pod_of
    not_injected e2e-plain
}

pod_opts_out() {
    pod_of label mtls-injector.io/inject=false
    not_injected e2e-shop
    pod_of annotate mtls-injector.io/inject=false
    not_injected e2e-shop
}

denial_explains() {
    pod_of annotate mtls-injector.io/egres=external.system.com
    refused create e2e-shop 2>"$work/denied"
    cat "$work/denied"
    grep -F 'mtls-injector.io/egres' "$work/denied"
    grep -F 'mtls-injector.io/egress' "$work/denied"
}

denial_is_an_event() {
    local told=0
    k create deployment denied --image=none --dry-run=client -o yaml | k patch --local -f - -o yaml --type=merge --patch='
        {"spec": {"template": {"metadata": {"labels": {"mtls-injector.io/inject": "true"},
                                            "annotations": {"mtls-injector.io/egres": "external.system.com"}}}}}' \
        >"$work/denied.yaml"
    k -n e2e-plain apply -f "$work/denied.yaml"
    within "$patience" event_in e2e-plain MutualTLSDenied || told=$?
    k -n e2e-plain delete deployment denied
    [ $told -eq 0 ]
}

certificate_rotates() {
    local pod restarts before
    pod=$(first_pod e2e-shop deployment)
    restarts=$(restarts_of "$pod")
    before=$(client_serial "$pod")
    make_certificates
    within "$patience" serial_differs "$pod" "$before"
    [ "$(restarts_of "$pod")" = "$restarts" ]
}

edit_reaches_the_proxy() {
    local pod config restarts
    pod=$(first_pod e2e-shop deployment)
    restarts=$(restarts_of "$pod")
    config=$(k -n e2e-shop get pod "$pod" -o jsonpath='{.metadata.annotations.mtls-injector\.io/proxy-config}')
    k -n e2e-shop annotate pod "$pod" --overwrite \
        "mtls-injector.io/proxy-config=${config/\"logLevel\":\"info\"/\"logLevel\":\"debug\"}"
    within "$patience" proxy_says "$pod" '"logLevel": *"debug"'
    [ "$(restarts_of "$pod")" = "$restarts" ]
}

defaults_reach_running_pods() {
    local pod restarts reached=0
    pod=$(first_pod e2e-shop deployment)
    restarts=$(restarts_of "$pod")
    install_option --update-running-pods
    k annotate namespace e2e-shop --overwrite mtls-injector.io/logLevel=error
    within "$patience" proxy_says "$pod" '"logLevel": *"error"' || reached=$?
    k annotate namespace e2e-shop mtls-injector.io/logLevel-
    remove_option update-running-pods
    [ $reached -eq 0 ]
    [ "$(restarts_of "$pod")" = "$restarts" ]
}

ca_bundle_heals() {
    local before
    before=$(ca_bundle)
    k patch mutatingwebhookconfiguration mtls-injector --type=json \
        --patch='[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "'"$(base64 -w0 "$work/pki/ca.crt")"'"}]'
    within "$patience" ca_bundle_is "$before"
    pod_of
    within "$patience" injected e2e-shop
}

secret_comes_back() {
    k -n $system delete secret mtls-injector-tls
    within "$patience" k -n $system get secret mtls-injector-tls
    pod_of
    within "$patience" injected e2e-shop
}

# The replicas remember the old authority, so there is no moment at which the API server trusts none.
new_authority_loses_nothing() {
    local before created=0 end=$((SECONDS + burst))
    before=$(ca_bundle)
    pod_of
    k -n $system delete secret mtls-injector-tls
    while [ $SECONDS -lt $end ]; do
        injected e2e-shop
        created=$((created + 1))
    done
    within "$patience" ca_bundle_differs "$before"
    echo "$created pods were created meanwhile, each with its proxy"
}

# A replica is ready only while the API server trusts what it serves: five ready ones agree.
replicas_share_one_authority() {
    local replicas number ready
    replicas=$(k -n $system get deployment mtls-injector -o jsonpath='{.spec.replicas}')
    k -n $system scale deployment/mtls-injector --replicas=0
    k -n $system wait --for=delete pod --selector app.kubernetes.io/name=mtls-injector --timeout="${patience}s"
    k -n $system delete secret mtls-injector-tls
    k -n $system scale deployment/mtls-injector --replicas=5
    k -n $system rollout status deployment/mtls-injector --timeout="${patience}s"
    ready=$(k -n $system get deployment mtls-injector -o jsonpath='{.status.readyReplicas}')
    pod_of
    for number in 1 2 3 4 5 6 7 8 9 10; do
        within "$patience" injected e2e-shop || ready="$ready, and pod $number was not injected"
    done
    k -n $system scale deployment/mtls-injector --replicas="$replicas"
    k -n $system rollout status deployment/mtls-injector --timeout="${patience}s"
    echo "ready: $ready"
    [ "$ready" = 5 ]
    [ "$(ca_bundle | base64 -d | grep -c BEGIN)" = 1 ]
}

# Creations that are dry runs pass through the same admission, and cost no node anything.
rolling_restart_loses_nothing() {
    pod_of
    k -n $system rollout restart deployment/mtls-injector
    k -n $system rollout status deployment/mtls-injector --timeout="${patience}s" >"$work/rollout" &
    local rollout=$! created=0
    while kill -0 $rollout 2>/dev/null || [ $created -lt 50 ]; do
        injected e2e-shop
        created=$((created + 1))
    done
    wait $rollout
    echo "$created pods were created meanwhile, each with its proxy"
}

down_fails_closed() {
    local replicas
    replicas=$(k -n $system get deployment mtls-injector -o jsonpath='{.spec.replicas}')
    k -n $system scale deployment/mtls-injector --replicas=0
    k -n $system wait --for=delete pod --selector app.kubernetes.io/name=mtls-injector --timeout="${patience}s"
    local asked=0 silent=0
    pod_of
    create e2e-shop 2>"$work/down" || asked=$?
    create e2e-plain || silent=$?
    k -n $system scale deployment/mtls-injector --replicas="$replicas"
    k -n $system rollout status deployment/mtls-injector --timeout="${patience}s"
    cat "$work/down"
    [ $asked -ne 0 ]
    grep -F 'failed calling webhook "namespace.mtls-injector.io"' "$work/down"
    [ $silent -eq 0 ]
    within "$patience" injected e2e-shop
}

cluster_wide_reads_annotations() {
    install_injector --mode cluster-wide
    local read=0
    pod_of
    within "$patience" injected e2e-plain || read=$?
    install_injector
    [ $read -eq 0 ]
}

policy_refuses() {
    k get --raw /apis/admissionregistration.k8s.io/v1 | grep -q validatingadmissionpolicies
    install_injector --validating-policy
    local stopped=0
    pod_of
    # The API server takes up a new policy within seconds, not at once.
    within "$patience" policy_stops e2e-plain || stopped=$?
    k delete validatingadmissionpolicy,validatingadmissionpolicybinding mtls-injector
    [ $stopped -eq 0 ]
}

# --- what the checks ask ---

# Writes the pod that `create` creates: it asks by annotations, and has one label or annotation more.
pod_of() {
    image_set scripts/e2e/pod.yaml | k annotate --local -f - -o yaml \
        mtls-injector.io/egress=external.system.com mtls-injector.io/secret=external-system-mtls-data >"$work/asking.yaml"
    if [ $# -eq 2 ]; then
        k "$1" --local -f "$work/asking.yaml" -o yaml "$2" >"$work/pod.yaml"
    else
        cp "$work/asking.yaml" "$work/pod.yaml"
    fi
}

# Creates the pod as a dry run of the API server, and prints the names of the containers that it would have.
create() {
    k -n "$1" create -f "$work/pod.yaml" --dry-run=server -o jsonpath="$names_of_containers"
}

injected() {
    create "$1" >"$work/names"
    grep -qx mtls-proxy "$work/names"
}

not_injected() {
    create "$1" >"$work/names"
    refused grep -x mtls-proxy "$work/names"
}

event_in() { k -n "$1" get events.events.k8s.io --field-selector reason="$2" -o name | grep .; }

policy_stops() {
    refused create "$1" 2>"$work/policy" && grep -F 'mtls-injection=enabled' "$work/policy"
}

# Succeeds when the command fails; a plain `!` would not end a check.
refused() {
    if "$@"; then
        echo "this should have failed: $*"
        return 1
    fi
}

has_proxy() {
    k -n "$1" get pod "$2" -o jsonpath="$names_of_containers" | grep -x mtls-proxy
}

first_pod() {
    local pod
    pod=$(k -n "$1" get pod --selector "app=$2" --field-selector status.phase!=Pending -o jsonpath='{.items[0].metadata.name}')
    [ -n "$pod" ] && echo "$pod"
}

call() { call_from e2e-shop "$@"; }
call_from() { k -n "$1" exec "$2" -c app -- /usr/local/bin/mtls-injector sample client "$3"; }

client_serial() { call "$1" http://external-system.e2e-partner.svc/secured-endpoint | sed 's/.*"serial":"\([^"]*\)".*/\1/'; }
serial_differs() { local now; now=$(client_serial "$1") && [ -n "$now" ] && [ "$now" != "$2" ]; }

# Whether the app of a pod has been running for so many seconds.
runs_for() {
    local started
    started=$(k -n "$2" get pod "$3" -o jsonpath='{.status.containerStatuses[0].state.running.startedAt}')
    [ $(($(date +%s) - $(date -d "$started" +%s))) -ge "$1" ]
}

restarts_of() { k -n "${2:-e2e-shop}" get pod "$1" -o jsonpath='{.status.containerStatuses[*].restartCount} {.status.initContainerStatuses[*].restartCount}'; }

proxy_says() { call "$1" http://127.0.0.1:15000/config | grep -E "$2"; }

ca_bundle() { k get mutatingwebhookconfiguration mtls-injector -o jsonpath='{.webhooks[0].clientConfig.caBundle}'; }
ca_bundle_differs() { local now; now=$(ca_bundle) && [ -n "$now" ] && [ "$now" != "$1" ]; }
ca_bundle_is() { [ "$(ca_bundle)" = "$1" ]; }

# --- preparing and cleaning up ---

find_tools() {
    command -v kubectl >/dev/null || die "kubectl is missing: https://kubernetes.io/docs/tasks/tools/"
    injector=${MTLS_INJECTOR:-}
    local candidate
    for candidate in "${CARGO_TARGET_DIR:-target}"/*/release/mtls-injector "${CARGO_TARGET_DIR:-target}"/{release,debug}/mtls-injector; do
        [ -n "$injector" ] || { [ -x "$candidate" ] && injector=$candidate; } || true
    done
    [ -n "$injector" ] || injector=$(command -v mtls-injector) || die "no mtls-injector is built: cargo build, or set MTLS_INJECTOR"
    k version -o yaml >"$work/version" 2>&1 || die "the cluster does not answer: $(tail -n 1 "$work/version")"
    installed_before=$(k get namespace $system --ignore-not-found -o name)
}

prepare() {
    echo "== $($injector version) against Kubernetes $(sed -n '/serverVersion/,$s/.*gitVersion: //p' "$work/version")"
    if [ -z "$(k -n kube-system get endpoints kube-dns --ignore-not-found -o jsonpath='{.subsets[*].addresses[*].ip}' 2>/dev/null)" ]; then
        echo "== note: kube-system/kube-dns has no endpoints; routes get the address of the Service that they lead to"
        without_dns=yes
    fi
    install_injector
    k -n $system rollout status deployment/mtls-injector --timeout="${patience}s"
    for namespace in $namespaces; do
        # One that a run before is still deleting cannot be used again.
        if [ "$(k get namespace "$namespace" --ignore-not-found -o jsonpath='{.status.phase}')" = Terminating ]; then
            k wait --for=delete "namespace/$namespace" --timeout="${patience}s"
        fi
        k create namespace "$namespace" --dry-run=client -o yaml | k apply -f - >/dev/null
        k label namespace "$namespace" --overwrite app.kubernetes.io/part-of=mtls-injector-e2e >/dev/null
    done
    k label namespace e2e-shop --overwrite mtls-injection=enabled pod-security.kubernetes.io/enforce=restricted >/dev/null
    k label namespace e2e-captured --overwrite mtls-injection=enabled pod-security.kubernetes.io/enforce=privileged >/dev/null
    make_certificates
    image_set scripts/e2e/partner.yaml | k -n e2e-partner apply -f -
    k -n e2e-partner rollout status deployment/external-system --timeout="${patience}s"
    k -n e2e-shop delete job --all >/dev/null
    image_set scripts/e2e/redirect-services.yaml | k -n e2e-captured apply -f -
    for file in services workloads jobs inbound; do
        image_set scripts/e2e/$file.yaml | addresses_set | k -n e2e-shop apply -f -
    done
    image_set scripts/e2e/redirect.yaml | addresses_set | aliases_set | k -n e2e-captured apply -f -
}

install_injector() {
    local flags=()
    [ -z "${IMAGE:-}" ] || flags+=(--image "$IMAGE")
    [ -z "${PROXY_IMAGE:-}" ] || flags+=(--proxy-image "$PROXY_IMAGE")
    [ -z "${INIT_IMAGE:-}" ] || flags+=(--init-image "$INIT_IMAGE")
    "$injector" install "${flags[@]}" "$@" | k apply -f -
}

# Installs a part that is off by default, and takes it away again.
install_option() {
    install_injector "$1"
    k -n $system rollout status deployment/mtls-injector --timeout="${patience}s"
}
remove_option() {
    install_injector
    k delete clusterrole,clusterrolebinding "mtls-injector-$1" --ignore-not-found
    k -n $system rollout status deployment/mtls-injector --timeout="${patience}s"
}

# New certificates of the same authority; the second time this is a rotation.
make_certificates() {
    "$injector" sample certificates "$work/pki" \
        --server-name external-system.e2e-partner.svc --server-name inventory.e2e-shop.svc \
        --server-name redirected.e2e-captured.svc
    secret e2e-partner external-system-tls "$work/pki/server"
    secret e2e-shop inventory-tls "$work/pki/server"
    secret e2e-captured redirected-tls "$work/pki/server"
    secret e2e-shop external-system-mtls-data "$work/pki/client"
    secret e2e-captured external-system-mtls-data "$work/pki/client"
}

secret() {
    k -n "$1" create secret generic "$2" --from-file="$3" --dry-run=client -o yaml | k apply -f -
}

# Prints a file of scripts/e2e with the image that is tested.
image_set() {
    if [ -z "${IMAGE:-}" ]; then
        cat "$1"
        return
    fi
    local change
    case $IMAGE in
    *@*) change="\"newName\": \"${IMAGE%@*}\", \"digest\": \"${IMAGE#*@}\"" ;;
    *) change="\"newName\": \"${IMAGE%:*}\", \"newTag\": \"${IMAGE##*:}\"" ;;
    esac
    mkdir -p "$work/image"
    cp "$1" "$work/image/file.yaml"
    echo "{\"resources\": [\"file.yaml\"], \"images\": [{\"name\": \"ghcr.io/mtls-injector/mtls-injector\", $change}]}" \
        >"$work/image/kustomization.yaml"
    kubectl kustomize "$work/image"
}

# Without DNS a route cannot find its host by name: gives each the address of the Service of that name.
addresses_set() {
    if [ -z "$without_dns" ]; then
        cat
        return
    fi
    local partner inventory redirected
    partner=$(service_address e2e-partner external-system)
    inventory=$(service_address e2e-shop inventory)
    redirected=$(service_address e2e-captured redirected)
    sed -e "s|^\( *\)- host: external-system.e2e-partner.svc\$|&\n\1  address: \"$partner\"|" \
        -e "s|^\( *\)- host: redirected.e2e-captured.svc\$|&\n\1  address: \"$redirected\"|" \
        -e "s|egress: external-system.e2e-partner.svc\$|egress: '[{host: external-system.e2e-partner.svc, address: \"$partner\"}]'|" \
        -e "s|^\( *\)- host: inventory.e2e-shop.svc\$|&\n\1  address: \"$inventory\"|"
}

# Without DNS an application that is redirected needs aliases of its own; they lead out of the pod, as DNS would.
aliases_set() {
    if [ -z "$without_dns" ]; then
        cat
        return
    fi
    local partner redirected
    partner=$(service_address e2e-partner external-system)
    redirected=$(service_address e2e-captured redirected)
    sed "s|^    spec:\$|&\n      hostAliases: [{ip: $partner, hostnames: [external-system.e2e-partner.svc]}, {ip: $redirected, hostnames: [redirected.e2e-captured.svc]}]|"
}

service_address() { k -n "$1" get service "$2" -o jsonpath='{.spec.clusterIP}'; }

finish() {
    local code=$?
    trap - EXIT
    if [ $((passed + failed)) -eq 0 ] && [ $code -ne 0 ]; then
        echo "the preparation failed:" >&2
        evidence
        failed=1
    fi
    if [ -n "${KEEP:-}" ]; then
        echo "kept: namespaces $namespaces $system"
    else
        # shellcheck disable=SC2086 # a list of words
        k delete namespace $namespaces --ignore-not-found --timeout="${patience}s" >/dev/null || true
        [ -n "$installed_before" ] || "$injector" install --validating-policy --end-jobs --update-running-pods |
            k delete --ignore-not-found -f - >/dev/null || true
    fi
    rm -rf "$work"
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ] && exit $code
    exit 1
}

# --- running ---

k() { kubectl ${KUBECONTEXT:+--context "$KUBECONTEXT"} "$@"; }

die() {
    echo "scripts/e2e.sh: $*" >&2
    rm -rf "$work"
    exit 1
}

# Runs one check; what it printed is shown only when it failed, with what the cluster says.
check() {
    local name=$1 code=0
    shift
    [[ $name == *"$pattern"* ]] || return 0
    # A shell of its own, not a condition: bash ignores `set -e` inside conditions.
    set +e
    (
        set -e
        "$@"
    ) >"$work/log" 2>&1
    code=$?
    set -e
    if [ $code -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok      $name"
        return
    fi
    failed=$((failed + 1))
    echo "FAILED  $name"
    sed 's/^/        /' "$work/log"
    evidence 2>&1 | sed 's/^/        /'
}

# What somebody would look at first.
evidence() {
    k get mutatingwebhookconfiguration mtls-injector -o wide || true
    k -n $system get pods -o wide || true
    k -n $system logs deployment/mtls-injector --all-pods=true --tail=30 2>/dev/null || k -n $system logs deployment/mtls-injector --tail=30 || true
    for namespace in $system $namespaces; do
        k -n "$namespace" get events --sort-by=.lastTimestamp 2>/dev/null | tail -n 15 || true
    done
    local of
    for of in e2e-shop e2e-captured; do
        k -n $of get pods -o wide || true
        for pod in $(k -n $of get pods --field-selector status.phase!=Succeeded -o name 2>/dev/null | head -n 4); do
            k -n $of describe "$pod" | tail -n 40 || true
            k -n $of logs "$pod" -c mtls-proxy --tail=20 || true
        done
    done
    for pod in $(k -n e2e-captured get pods -o name 2>/dev/null | head -n 2); do
        k -n e2e-captured logs "$pod" -c mtls-init --tail=20 || true
    done
}

# Tries a command each second until it succeeds, at most so many seconds; shows the last attempt.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >"$work/attempt" 2>&1; do
        if [ $SECONDS -ge $deadline ]; then
            cat "$work/attempt"
            return 1
        fi
        sleep 1
    done
}

main
