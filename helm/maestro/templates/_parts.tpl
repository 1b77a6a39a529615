{{/* What the release is made of. Puts one dict for each workload into `bag.all`:
       component   its kind, as the label says
       expert      the key of the entry in `experts`, else empty
       name        of its Deployment, Service and ConfigMap
       account     the component whose service account it uses, and that account's settings
       program     the executable
       values      its settings, with defaults filled in
       service     the program's own settings, as the chart decides them
     Called with dict root, bag: a template hands values back only through what it was given. */}}
{{- define "maestro.parts" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $all := list -}}

{{- $pools := dict
      "policy_workers" (list (include "maestro.pool" (list $root "policy-worker")))
      "skill_runners" (list (include "maestro.pool" (list $root "skill-runner"))) -}}
{{- with $values.trajectories -}}
{{- if .enabled -}}
{{- $_ := set $pools "trajectories" (dict
      "url" (.url | default (include "maestro.blobUrl" $root))
      "ephemeral" .ephemeral
      "retention_days" (int64 .retentionDays)) -}}
{{- end -}}
{{- end -}}
{{- $all = append $all (dict "component" "coordinator" "values" $values.coordinator "service" $pools) -}}
{{- $all = append $all (dict "component" "policy-worker" "values" $values.policyWorker
      "service" (dict "device" $values.policyWorker.device)) -}}
{{- $all = append $all (dict "component" "skill-runner" "values" $values.skillRunner "service" dict) -}}

{{- range $key, $entry := $values.experts -}}
{{- $merged := mergeOverwrite (deepCopy $values.expertDefaults) (deepCopy $entry) -}}
{{- if $merged.enabled -}}
{{- $descriptor := merge (deepCopy $entry.descriptor) (dict "name" $key) -}}
{{- $service := dict
      "experts" (list $descriptor)
      "replace" true
      "warm_up_timeout_ms" (mul $merged.warmUpSeconds 1000) -}}
{{- $all = append $all (dict "component" "expert" "expert" $key "values" $merged "service" $service) -}}
{{- end -}}
{{- end -}}

{{- $pool := mergeOverwrite (deepCopy $values.expertDefaults) (deepCopy $values.adoptingExperts) -}}
{{- if $pool.enabled -}}
{{- $service := dict "adopt" $pool.adopt "warm_up_timeout_ms" (mul $pool.warmUpSeconds 1000) -}}
{{- $all = append $all (dict "component" "adopting-expert" "values" $pool "service" $service) -}}
{{- end -}}

{{- range $part := $all -}}
{{- include "maestro.refuseNull" $part -}}
{{- $_ := set $part "root" $root -}}
{{- if hasSuffix "expert" $part.component -}}
{{- $_ := set $part "program" "maestro-expert-worker" -}}
{{- $_ := set $part "account" (list $root "expert" $values.expertDefaults.serviceAccount) -}}
{{- else -}}
{{- $_ := set $part "program" (printf "maestro-%s" $part.component) -}}
{{- $_ := set $part "account" (list $root $part.component $part.values.serviceAccount) -}}
{{- end -}}
{{- $tail := ternary (printf "expert-%s" $part.expert) $part.component (eq $part.component "expert") -}}
{{- $_ := set $part "name" (include "maestro.partName" (list $root $tail)) -}}
{{- end -}}
{{- $_ := set .bag "all" $all -}}
{{- end -}}
