{{/* Names, labels, images and versions. */}}

{{/* (list name 52): the name, and if it is longer than that, its beginning and a digest of all of it. */}}
{{- define "maestro.shorten" -}}
{{- $name := index . 0 | trimSuffix "-" -}}
{{- $most := index . 1 -}}
{{- if gt (len $name) $most -}}
{{- printf "%s-%s" ($name | trunc (sub $most 9 | int) | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{- define "maestro.chartName" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 36 characters, which leaves room for the names of the parts. */}}
{{- define "maestro.fullname" -}}
{{- $name := include "maestro.chartName" . -}}
{{- $own := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- include "maestro.shorten" (list (.Values.fullnameOverride | default $own) 36) -}}
{{- end -}}

{{/* The name of a part: (list root "coordinator"). At most 52 characters, as `-headless` and a
     StatefulSet's digests may follow. */}}
{{- define "maestro.partName" -}}
{{- include "maestro.shorten" (list (printf "%s-%s" (include "maestro.fullname" (index . 0)) (index . 1)) 52) -}}
{{- end -}}

{{/* Where a Service is reached: (list root "service name"). */}}
{{- define "maestro.host" -}}
{{- $root := index . 0 -}}
{{- printf "%s.%s.svc.%s" (index . 1) $root.Release.Namespace $root.Values.clusterDomain -}}
{{- end -}}

{{/* The port of an address, or that of its scheme where it names none. */}}
{{- define "maestro.port" -}}
{{- $host := (urlParse .).host -}}
{{- regexFind ":[0-9]+$" $host | trimPrefix ":" | default (ternary "80" "443" (hasPrefix "http://" .)) -}}
{{- end -}}

{{/* What selects every pod of the release. */}}
{{- define "maestro.selector" -}}
app.kubernetes.io/name: {{ include "maestro.chartName" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* What selects the pods of a part: (list root "component"), or with an expert's key after it. */}}
{{- define "maestro.partSelector" -}}
{{ include "maestro.selector" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- if gt (len .) 2 }}
{{- with index . 2 }}
maestro/expert: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Labels of an object, which may change with a version; pods get only what selects them. */}}
{{- define "maestro.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: maestro
{{- end -}}

{{/* The metadata of an object: dict root, name, component, and if there are any expert, labels, annotations.
     Values are quoted, since a name such as 123 or null would be read as something else. */}}
{{- define "maestro.metadata" -}}
name: {{ .name | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "maestro.partSelector" (list .root .component (.expert | default "")) | nindent 2 }}
  {{- include "maestro.labels" .root | nindent 2 }}
  {{- with merge (dict) (.labels | default dict) .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* (list root image): a digest wins over a tag. */}}
{{- define "maestro.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $registry := $image.registry | default $root.Values.image.registry -}}
{{- $path := ternary (printf "%s/%s" $registry $image.repository) $image.repository (not (empty $registry)) -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $path $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $path ($image.tag | default $root.Values.image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* (list root "component" serviceAccount) */}}
{{- define "maestro.accountName" -}}
{{- $account := index . 2 -}}
{{- if $account.create -}}
{{- $account.name | default (include "maestro.partName" (list (index . 0) (index . 1))) -}}
{{- else -}}
{{- $account.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* (list root ">=1.24-0"): "true" where the cluster is that new. */}}
{{- define "maestro.since" -}}
{{- if semverCompare (index . 1) (index . 0).Capabilities.KubeVersion.Version -}}true{{- end -}}
{{- end -}}

{{/* (list root "policy/v1" ">=1.21-0"): "true" where the cluster serves that group. The version counts
     as well, because a chart that is rendered without a cluster sees every group that Helm knows. */}}
{{- define "maestro.serves" -}}
{{- $root := index . 0 -}}
{{- if $root.Capabilities.APIVersions.Has (index . 1) -}}
{{- include "maestro.since" (list $root (index . 2)) -}}
{{- end -}}
{{- end -}}

{{- define "maestro.listen" -}}
{{- ternary "[::]" "0.0.0.0" (eq .Values.ipFamily "IPv6") -}}
{{- end -}}

{{/* A label selector of pods of several components: (list root components). */}}
{{- define "maestro.peers" -}}
matchLabels:
  {{- include "maestro.selector" (index . 0) | nindent 2 }}
matchExpressions:
  - { key: app.kubernetes.io/component, operator: In, values: [{{ join ", " (index . 1) }}] }
{{- end -}}
