{{/* The programs' settings. Each prints YAML, which the caller reads back or writes to a file. */}}

{{/* The members of etcd. */}}
{{- define "maestro.etcdEndpoints" -}}
{{- if .Values.etcd.enabled -}}
{{- $name := include "maestro.partName" (list . "etcd") -}}
{{- $host := include "maestro.host" (list . (printf "%s-headless" $name)) -}}
{{- range $member := until (int .Values.etcd.replicas) }}
- http://{{ $name }}-{{ $member }}.{{ $host }}:2379
{{- end -}}
{{- else -}}
{{- toYaml .Values.etcd.external.endpoints -}}
{{- end -}}
{{- end -}}

{{- define "maestro.etcdConfig" -}}
endpoints:
  {{- include "maestro.etcdEndpoints" . | nindent 2 }}
prefix: {{ .Values.etcd.prefix }}
lease_ttl_s: {{ int64 .Values.etcd.leaseTtlSeconds }}
{{- with .Values.etcd.external.tls }}
{{- if and .enabled (not $.Values.etcd.enabled) }}
tls:
  ca_file: {{ with .caKey }}/etc/maestro/etcd-tls/{{ . }}{{ else }}null{{ end }}
  {{- if .certKey }}
  cert_file: /etc/maestro/etcd-tls/{{ .certKey }}
  key_file: /etc/maestro/etcd-tls/{{ .keyKey }}
  {{- end }}
  {{- with .serverName }}
  server_name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where blobs are. */}}
{{- define "maestro.blobUrl" -}}
{{- if eq .Values.blobs.type "s3" -}}
{{- printf "s3://%s/%s" .Values.blobs.s3.bucket (.Values.blobs.s3.prefix | trimPrefix "/") | trimSuffix "/" -}}
{{- else -}}
file:///data
{{- end -}}
{{- end -}}

{{/* The store itself, for the coordinators. */}}
{{- define "maestro.blobStore" -}}
store:
  url: {{ include "maestro.blobUrl" . }}
  max_blob_bytes: {{ int64 .Values.blobs.maxBlobBytes }}
{{- end -}}

{{/* The coordinators as servers of blobs, for everyone else. */}}
{{- define "maestro.blobServers" -}}
remote:
  endpoints:
    - http://{{ include "maestro.host" (list . (include "maestro.partName" (list . "coordinator"))) }}:{{ .Values.coordinator.service.port }}
{{- end -}}

{{/* Where coordinators call a pool of workers. The Service without an address of its own names every
     ready pod, so that a coordinator can spread its calls over all of them. */}}
{{- define "maestro.pool" -}}
http://{{ include "maestro.host" (list (index . 0) (printf "%s-headless" (include "maestro.partName" (list (index . 0) (index . 1))))) }}:7070
{{- end -}}

{{/* The receiver of traces. The programs would take a missing port for 80, receivers listen on 4317. */}}
{{- define "maestro.otlpEndpoint" -}}
{{- regexReplaceAll "^(http://(?:\\[[^]]*\\]|[^/:]+))(/.*)?$" .Values.otlp.endpoint "${1}:4317${2}" -}}
{{- end -}}

{{/* The whole file of a part. */}}
{{- define "maestro.config" -}}
{{- $serve := dict "listen" (printf "%s:7070" (include "maestro.listen" .root)) "drain_grace_ms" (mul .values.drainSeconds 1000) -}}
{{- $given := .values.config | default dict -}}
{{- $service := merge (dict "serve" (merge $serve ($given.serve | default dict))) .service $given -}}
service:
  {{- toYaml $service | nindent 2 }}
etcd:
  {{- include "maestro.etcdConfig" .root | nindent 2 }}
blobs:
  {{- include (ternary "maestro.blobStore" "maestro.blobServers" (eq .component "coordinator")) .root | nindent 2 }}
metrics: {{ printf "%s:9090" (include "maestro.listen" .root) | quote }}
log:
  {{- toYaml .root.Values.log | nindent 2 }}
{{- with .root.Values.otlp }}
{{- if .endpoint }}
otlp:
  endpoint: {{ include "maestro.otlpEndpoint" $.root }}
  sample_ratio: {{ .sampleRatio }}
{{- end }}
{{- end }}
{{- end -}}
