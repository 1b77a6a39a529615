{{/* What a pod is made of. Each takes a part (see maestro.parts). */}}

{{/* The grace period of a pod: serve on, drain, close, and a margin. */}}
{{- define "maestro.graceSeconds" -}}
{{- add .root.Values.preStopSeconds .values.drainSeconds 10 -}}
{{- end -}}

{{/* How health is asked: by the kubelet where it speaks gRPC, else by the program itself. */}}
{{- define "maestro.healthCheck" -}}
{{- if include "maestro.since" (list .root ">=1.24-0") -}}
grpc:
  port: 7070
{{- else -}}
exec:
  command: [{{ .program }}, health, --timeout-ms, "2000"]
{{- end -}}
{{- end -}}

{{- define "maestro.probes" -}}
{{- $probes := .values.probes -}}
{{- $check := include "maestro.healthCheck" . -}}
{{- $startup := $probes.startup -}}
{{- $attempts := div (add .values.warmUpSeconds $startup.periodSeconds -1) $startup.periodSeconds -}}
{{- $liveness := $probes.liveness -}}
{{- $patience := add 2 (div (include "maestro.graceSeconds" . | int) $liveness.periodSeconds) -}}
startupProbe:
  {{- $check | nindent 2 }}
  {{- toYaml (merge (dict) $startup (dict "failureThreshold" $attempts)) | nindent 2 }}
readinessProbe:
  {{- $check | nindent 2 }}
  {{- toYaml $probes.readiness | nindent 2 }}
livenessProbe:
  {{- $check | nindent 2 }}
  {{- toYaml (merge (dict) $liveness (dict "failureThreshold" $patience)) | nindent 2 }}
{{- end -}}

{{/* The pod goes on serving while Services learn that it ends. */}}
{{- define "maestro.lifecycle" -}}
{{- with .root.Values.preStopSeconds }}
lifecycle:
  preStop:
    {{- if include "maestro.since" (list $.root ">=1.30-0") }}
    sleep:
      seconds: {{ . }}
    {{- else }}
    exec:
      command: [{{ $.program }}, pause, --ms, "{{ mul . 1000 }}"]
    {{- end }}
{{- end }}
{{- end -}}

{{- define "maestro.env" -}}
- name: MAESTRO_CONFIG
  value: /etc/maestro/config/config.yaml
# Compiled GPU kernels and the like are kept under HOME.
- name: HOME
  value: /tmp
{{- if hasSuffix "expert" .component }}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
# Each pod registers its own address: the router chooses between instances itself.
- name: MAESTRO_ADVERTISE
  value: {{ ternary "http://[$(POD_IP)]:7070" "http://$(POD_IP):7070" (eq .root.Values.ipFamily "IPv6") }}
{{- end }}
{{- if and .values.gpu (dig "gpu" "enabled" false .values) }}
- name: NVIDIA_DRIVER_CAPABILITIES
  value: {{ .values.gpu.driverCapabilities }}
{{- end }}
{{- with .root.Values.etcd.external.auth }}
{{- if and .existingSecret (not $.root.Values.etcd.enabled) }}
- name: MAESTRO_ETCD_USER
  valueFrom:
    secretKeyRef: { name: {{ .existingSecret | quote }}, key: {{ .usernameKey }} }
- name: MAESTRO_ETCD_PASSWORD
  valueFrom:
    secretKeyRef: { name: {{ .existingSecret | quote }}, key: {{ .passwordKey }} }
{{- end }}
{{- end }}
{{- if and (eq .component "coordinator") (eq .root.Values.blobs.type "s3") }}
{{- with .root.Values.blobs.s3 }}
- name: AWS_REGION
  value: {{ .region }}
{{- with .endpoint }}
- name: AWS_ENDPOINT
  value: {{ . }}
{{- end }}
{{- if .allowHttp }}
- name: AWS_ALLOW_HTTP
  value: "true"
{{- end }}
{{- if .existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: { name: {{ .existingSecret | quote }}, key: {{ .accessKeyIdKey }} }
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef: { name: {{ .existingSecret | quote }}, key: {{ .secretAccessKeyKey }} }
{{- end }}
{{- end }}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What of the release this part mounts beside its settings and its scratch folder. */}}
{{- define "maestro.mounts" -}}
- name: config
  mountPath: /etc/maestro/config
  readOnly: true
- name: scratch
  mountPath: /tmp
{{- if include "maestro.hasEtcdTls" .root }}
- name: etcd-tls
  mountPath: /etc/maestro/etcd-tls
  readOnly: true
{{- end }}
{{- if and (eq .component "coordinator") (eq .root.Values.blobs.type "volume") }}
- name: data
  mountPath: /data
{{- end }}
{{- if dig "models" "volume" false .values }}
- name: models
  mountPath: {{ .values.models.mountPath }}
  readOnly: true
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "maestro.volumes" -}}
- name: config
  configMap:
    name: {{ .name }}
- name: scratch
  emptyDir:
    sizeLimit: {{ .root.Values.scratchSize }}
{{- if include "maestro.hasEtcdTls" .root }}
- name: etcd-tls
  secret:
    secretName: {{ .root.Values.etcd.external.tls.existingSecret | quote }}
    defaultMode: 0440
{{- end }}
{{- if and (eq .component "coordinator") (eq .root.Values.blobs.type "volume") }}
- name: data
  {{- if .root.Values.blobs.volume.persistence }}
  persistentVolumeClaim:
    claimName: {{ .root.Values.blobs.volume.existingClaim | default (include "maestro.partName" (list .root "blobs")) | quote }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .root.Values.blobs.volume.size }}
  {{- end }}
{{- end }}
{{- with dig "models" "volume" false .values }}
- name: models
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "maestro.hasEtcdTls" -}}
{{- if and .Values.etcd.external.tls.enabled (not .Values.etcd.enabled) }}true{{ end -}}
{{- end -}}

{{/* Where a part's pods go: dict root, values, and selector as YAML. */}}
{{- define "maestro.placement" -}}
{{- $gpu := dig "gpu" (dict) .values -}}
{{- $tolerations := .values.tolerations -}}
{{- if and $gpu.enabled $gpu.tolerateTaint -}}
{{- $tolerations = append $tolerations (dict "key" $gpu.resourceName "operator" "Exists" "effect" "NoSchedule") -}}
{{- end -}}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if .values.topologySpreadConstraints }}
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- else }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $.selector | nindent 8 }}
    {{- if and $.perRevision (include "maestro.since" (list $.root ">=1.27-0")) }}
    # Otherwise the pods of the revision that goes would count during an update.
    matchLabelKeys: [pod-template-hash]
    {{- end }}
{{- end }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "maestro.resources" -}}
{{- $resources := deepCopy .values.resources -}}
{{- $gpu := dig "gpu" (dict) .values -}}
{{- if $gpu.enabled -}}
{{- $limits := merge (dict $gpu.resourceName (toString $gpu.count)) ($resources.limits | default dict) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* What every pod of the release has in common: (list root account). */}}
{{- define "maestro.podBasics" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
serviceAccountName: {{ include "maestro.accountName" (index . 1) | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- end -}}
