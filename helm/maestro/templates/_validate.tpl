{{/* What the schema cannot say: settings that only together make no sense. */}}

{{/* Whether several nodes may open the blobs at once. */}}
{{- define "maestro.blobsAreShared" -}}
{{- $volume := .Values.blobs.volume -}}
{{- if or (eq .Values.blobs.type "s3") (and $volume.persistence (has "ReadWriteMany" $volume.accessModes)) }}true{{ end -}}
{{- end -}}

{{- define "maestro.updateStrategy" -}}
{{- if .values.updateStrategy -}}
{{- toYaml .values.updateStrategy -}}
{{- else if and (eq .component "coordinator") (not (include "maestro.blobsAreShared" .root)) -}}
# A new pod on another node could not mount the volume while the old one runs.
type: Recreate
{{- else -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: 1
  maxUnavailable: 0
{{- end -}}
{{- end -}}

{{/* Where a part's settings stand in the values. */}}
{{- define "maestro.settingsOf" -}}
{{- if .expert -}}
{{- printf "experts.%s" .expert -}}
{{- else -}}
{{- get (dict "coordinator" "coordinator" "policy-worker" "policyWorker" "skill-runner" "skillRunner"
      "adopting-expert" "adoptingExperts" "etcd" "etcd") .component -}}
{{- end -}}
{{- end -}}

{{/* Fails where a part lacks what the templates look into, which a null in the values takes away. */}}
{{- define "maestro.refuseNull" -}}
{{- $part := . -}}
{{- range $path := list "probes.startup.periodSeconds" "probes.readiness" "probes.liveness.periodSeconds" "autoscaling.queue" -}}
{{- $node := $part.values -}}
{{- range splitList "." $path -}}
{{- $node = get ($node | default dict) . -}}
{{- end -}}
{{- if or (kindIs "invalid" $node) (eq (toString $node) "") -}}
{{- fail (printf "%s.%s: must not be null" (include "maestro.settingsOf" $part) $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails where a key is the chart's own: dict setting, given (a mapping), reserved (patterns). */}}
{{- define "maestro.refuseReserved" -}}
{{- range $key, $_ := .given -}}
{{- range $pattern := $.reserved -}}
{{- if regexMatch (printf "^(%s)$" $pattern) $key -}}
{{- fail (printf "%s: the chart sets %s itself" $.setting $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails where an entry of a list repeats another: dict setting, list, key (what names an entry). */}}
{{- define "maestro.refuseRepeated" -}}
{{- $seen := dict -}}
{{- range .list -}}
{{- $name := get . $.key -}}
{{- if hasKey $seen $name -}}
{{- fail (printf "%s: %s stands there twice, or the chart sets it itself" $.setting $name) -}}
{{- end -}}
{{- $_ := set $seen $name true -}}
{{- end -}}
{{- end -}}

{{/* The keys that the chart needs for itself: dict root, parts. */}}
{{- define "maestro.validateKeys" -}}
{{- $labels := list "app\\.kubernetes\\.io/(name|instance|component|version|managed-by|part-of)" "helm\\.sh/chart" "maestro/.*" -}}
{{- $annotations := list "kubectl\\.kubernetes\\.io/default-container" "checksum/config" -}}
{{- if .root.Values.metrics.scrapeAnnotations -}}
{{- $annotations = append $annotations "prometheus\\.io/(scrape|port|path)" -}}
{{- end -}}
{{- $metrics := .root.Values.metrics -}}
{{- range $setting, $given := dict
      "commonLabels" .root.Values.commonLabels
      "metrics.serviceMonitor.labels" $metrics.serviceMonitor.labels
      "metrics.podMonitor.labels" $metrics.podMonitor.labels
      "metrics.prometheusRule.labels" $metrics.prometheusRule.labels
      "metrics.dashboards.labels" $metrics.dashboards.labels
      "etcd.podLabels" .root.Values.etcd.podLabels -}}
{{- include "maestro.refuseReserved" (dict "setting" $setting "given" $given "reserved" $labels) -}}
{{- end -}}
{{- include "maestro.refuseReserved" (dict "setting" "etcd.podAnnotations" "given" .root.Values.etcd.podAnnotations "reserved" $annotations) -}}
{{- range .parts -}}
{{- $at := include "maestro.settingsOf" . -}}
{{- include "maestro.refuseReserved" (dict "setting" (printf "%s.podLabels" $at) "given" .values.podLabels "reserved" $labels) -}}
{{- include "maestro.refuseReserved" (dict "setting" (printf "%s.podAnnotations" $at) "given" .values.podAnnotations "reserved" $annotations) -}}
{{- $env := include "maestro.env" . | fromYamlArray -}}
{{- include "maestro.refuseRepeated" (dict "setting" (printf "%s.extraEnv" $at) "list" $env "key" "name") -}}
{{- $volumes := include "maestro.volumes" . | fromYamlArray -}}
{{- include "maestro.refuseRepeated" (dict "setting" (printf "%s.extraVolumes" $at) "list" $volumes "key" "name") -}}
{{- $mounts := include "maestro.mounts" . | fromYamlArray -}}
{{- include "maestro.refuseRepeated" (dict "setting" (printf "%s.extraVolumeMounts" $at) "list" $mounts "key" "mountPath") -}}
{{- end -}}
{{- end -}}

{{/* Members are added to an etcd by etcd itself, so a running one keeps its number: dict root, found
     (the StatefulSet in the cluster, or nothing). */}}
{{- define "maestro.validateMembers" -}}
{{- $wanted := int .root.Values.etcd.replicas -}}
{{- range dig "spec" "template" "spec" "containers" list .found -}}
{{- range .args -}}
{{- if hasPrefix "--initial-cluster=" . -}}
{{- $members := splitList "," . | len -}}
{{- if ne $members $wanted -}}
{{- fail (printf "etcd.replicas: is %d, but the etcd of this release was made with %d members; see docs/kubernetes.md" $wanted $members) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "maestro.validate" -}}
{{- $values := .Values -}}
{{- $external := $values.etcd.external -}}
{{- if and (not $values.etcd.enabled) (empty $external.endpoints) -}}
{{- fail "etcd.external.endpoints: name at least one while etcd.enabled is false" -}}
{{- end -}}
{{- if and $external.tls.enabled (empty $external.tls.existingSecret) -}}
{{- fail "etcd.external.tls.existingSecret: name the Secret with the certificates" -}}
{{- end -}}
{{- if not $values.etcd.enabled -}}
{{- range $external.endpoints -}}
{{- if ne (hasPrefix "https://" .) $external.tls.enabled -}}
{{- fail (printf "etcd.external.endpoints: %s must begin with https:// exactly where etcd.external.tls.enabled is true" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq $values.blobs.type "s3") (empty $values.blobs.s3.bucket) -}}
{{- fail "blobs.s3.bucket: name the bucket" -}}
{{- end -}}
{{- $scaled := $values.coordinator.autoscaling -}}
{{- $most := ternary $scaled.maxReplicas $values.coordinator.replicas $scaled.enabled | int -}}
{{- if and (gt $most 1) (not (include "maestro.blobsAreShared" .)) -}}
{{- fail "coordinator.replicas: several coordinators need blobs that they share: blobs.type s3, or a volume with ReadWriteMany in blobs.volume.accessModes" -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled $values.metrics.podMonitor.enabled -}}
{{- fail "metrics.podMonitor.enabled: with metrics.serviceMonitor.enabled every pod would be scraped twice; choose one" -}}
{{- end -}}
{{- $bag := dict -}}
{{- include "maestro.parts" (dict "root" . "bag" $bag) -}}
{{- include "maestro.validateKeys" (dict "root" . "parts" $bag.all) -}}
{{- if $values.etcd.enabled -}}
{{- $found := lookup "apps/v1" "StatefulSet" .Release.Namespace (include "maestro.partName" (list . "etcd")) -}}
{{- include "maestro.validateMembers" (dict "root" . "found" $found) -}}
{{- end -}}
{{- $service := $values.coordinator.service -}}
{{- if and $service.nodePort (eq $service.type "ClusterIP") -}}
{{- fail "coordinator.service.nodePort: needs the type NodePort or LoadBalancer" -}}
{{- end -}}
{{- if and (ne $service.type "LoadBalancer") (or $service.loadBalancerClass $service.loadBalancerSourceRanges) -}}
{{- fail "coordinator.service: loadBalancerClass and loadBalancerSourceRanges need the type LoadBalancer" -}}
{{- end -}}
{{- $names := dict -}}
{{- range $bag.all -}}
{{- with .values.autoscaling -}}
{{- if .enabled -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas: is %v, above maxReplicas %v" .minReplicas .maxReplicas) -}}
{{- end -}}
{{- if and (eq .type "keda") (empty $values.keda.prometheusAddress) -}}
{{- fail "keda.prometheusAddress: say where Prometheus answers" -}}
{{- end -}}
{{- if not (or .targetCPUUtilizationPercentage .queue.targetDepth) -}}
{{- fail "autoscaling: set targetCPUUtilizationPercentage or queue.targetDepth" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .service.experts -}}
{{- if hasKey $names .name -}}
{{- fail (printf "experts: two entries describe the expert %s" .name) -}}
{{- end -}}
{{- $_ := set $names .name true -}}
{{- end -}}
{{- end -}}
{{- end -}}
