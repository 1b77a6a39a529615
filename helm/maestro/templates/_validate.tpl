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
