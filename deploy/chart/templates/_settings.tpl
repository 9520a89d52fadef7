{{- /*
Each line: an environment variable of the operator, the value that it sets (environment.yaml), the value of this chart that it
is taken from, and the older name of that. A test compares the first two with environment.yaml.
*/}}
{{- define "lotest.table" -}}
JOB_TTL_SECONDS_AFTER_FINISHED ttlSecondsAfterFinished locustPods.ttlSecondsAfterFinished config.loadGenerationJobs.ttlSecondsAfterFinished
POD_CPU_REQUEST resources.common.requests.cpu locustPods.resources.requests.cpu config.loadGenerationPods.resource.cpuRequest
POD_MEM_REQUEST resources.common.requests.memory locustPods.resources.requests.memory config.loadGenerationPods.resource.memRequest
POD_EPHEMERAL_REQUEST resources.common.requests.ephemeral-storage locustPods.resources.requests.ephemeralStorage config.loadGenerationPods.resource.ephemeralRequest
POD_CPU_LIMIT resources.common.limits.cpu locustPods.resources.limits.cpu config.loadGenerationPods.resource.cpuLimit
POD_MEM_LIMIT resources.common.limits.memory locustPods.resources.limits.memory config.loadGenerationPods.resource.memLimit
POD_EPHEMERAL_LIMIT resources.common.limits.ephemeral-storage locustPods.resources.limits.ephemeralStorage config.loadGenerationPods.resource.ephemeralLimit
MASTER_POD_CPU_REQUEST resources.master.requests.cpu locustPods.masterResources.requests.cpu
MASTER_POD_MEM_REQUEST resources.master.requests.memory locustPods.masterResources.requests.memory
MASTER_POD_EPHEMERAL_REQUEST resources.master.requests.ephemeral-storage locustPods.masterResources.requests.ephemeralStorage
MASTER_POD_CPU_LIMIT resources.master.limits.cpu locustPods.masterResources.limits.cpu
MASTER_POD_MEM_LIMIT resources.master.limits.memory locustPods.masterResources.limits.memory
MASTER_POD_EPHEMERAL_LIMIT resources.master.limits.ephemeral-storage locustPods.masterResources.limits.ephemeralStorage
WORKER_POD_CPU_REQUEST resources.worker.requests.cpu locustPods.workerResources.requests.cpu
WORKER_POD_MEM_REQUEST resources.worker.requests.memory locustPods.workerResources.requests.memory
WORKER_POD_EPHEMERAL_REQUEST resources.worker.requests.ephemeral-storage locustPods.workerResources.requests.ephemeralStorage
WORKER_POD_CPU_LIMIT resources.worker.limits.cpu locustPods.workerResources.limits.cpu
WORKER_POD_MEM_LIMIT resources.worker.limits.memory locustPods.workerResources.limits.memory
WORKER_POD_EPHEMERAL_LIMIT resources.worker.limits.ephemeral-storage locustPods.workerResources.limits.ephemeralStorage
METRICS_EXPORTER_IMAGE metricsExporter.image locustPods.metricsExporter.image config.loadGenerationPods.metricsExporter.image
METRICS_EXPORTER_PORT metricsExporter.port locustPods.metricsExporter.port config.loadGenerationPods.metricsExporter.port
METRICS_EXPORTER_IMAGE_PULL_POLICY metricsExporter.imagePullPolicy locustPods.metricsExporter.pullPolicy config.loadGenerationPods.metricsExporter.pullPolicy
METRICS_EXPORTER_CPU_REQUEST metricsExporter.resources.requests.cpu locustPods.metricsExporter.resources.requests.cpu config.loadGenerationPods.metricsExporter.resource.cpuRequest
METRICS_EXPORTER_MEM_REQUEST metricsExporter.resources.requests.memory locustPods.metricsExporter.resources.requests.memory config.loadGenerationPods.metricsExporter.resource.memRequest
METRICS_EXPORTER_EPHEMERAL_REQUEST metricsExporter.resources.requests.ephemeral-storage locustPods.metricsExporter.resources.requests.ephemeralStorage config.loadGenerationPods.metricsExporter.resource.ephemeralRequest
METRICS_EXPORTER_CPU_LIMIT metricsExporter.resources.limits.cpu locustPods.metricsExporter.resources.limits.cpu config.loadGenerationPods.metricsExporter.resource.cpuLimit
METRICS_EXPORTER_MEM_LIMIT metricsExporter.resources.limits.memory locustPods.metricsExporter.resources.limits.memory config.loadGenerationPods.metricsExporter.resource.memLimit
METRICS_EXPORTER_EPHEMERAL_LIMIT metricsExporter.resources.limits.ephemeral-storage locustPods.metricsExporter.resources.limits.ephemeralStorage config.loadGenerationPods.metricsExporter.resource.ephemeralLimit
ENABLE_AFFINITY_CR_INJECTION affinityInjection locustPods.affinityInjection config.loadGenerationPods.affinity.enableCrInjection
ENABLE_TAINT_TOLERATIONS_CR_INJECTION tolerationsInjection locustPods.tolerationsInjection config.loadGenerationPods.taintTolerations.enableCrInjection
DEFAULT_RUNTIME_CLASS_NAME runtimeClassName locustPods.runtimeClassName
KAFKA_BOOTSTRAP_SERVERS kafka.bootstrapServers kafka.bootstrapServers config.loadGenerationPods.kafka.bootstrapServers
KAFKA_SECURITY_ENABLED kafka.securityEnabled kafka.security.enabled config.loadGenerationPods.kafka.acl.enabled
KAFKA_SECURITY_PROTOCOL_CONFIG kafka.securityProtocol kafka.security.protocol config.loadGenerationPods.kafka.acl.protocol
KAFKA_SASL_MECHANISM kafka.saslMechanism kafka.security.saslMechanism config.loadGenerationPods.kafka.sasl.mechanism
KAFKA_SASL_JAAS_CONFIG kafka.jaasConfig kafka.security.jaasConfig config.loadGenerationPods.kafka.sasl.jaas.config
KAFKA_CREDENTIALS_SECRET_NAME kafka.credentials.secretName kafka.credentials.secretName config.loadGenerationPods.kafka.locustK8sKafkaUser.userName
KAFKA_CREDENTIALS_USERNAME_KEY kafka.credentials.usernameKey kafka.credentials.usernameKey config.loadGenerationPods.kafka.acl.secret.userKey
KAFKA_CREDENTIALS_PASSWORD_KEY kafka.credentials.passwordKey kafka.credentials.passwordKey config.loadGenerationPods.kafka.acl.secret.passwordKey
{{- end }}

{{- /* What stands at a path of keys joined by dots, as {"at": ...}; {} when there is nothing. */}}
{{- define "lotest.at" -}}
{{- $at := index . 0 }}
{{- range $key := splitList "." (index . 1) }}
{{- if kindIs "map" $at }}{{ $at = index $at $key }}{{ else }}{{ $at = index dict $key }}{{ end }}
{{- end }}
{{- if kindIs "invalid" $at }}{{ dict | toJson }}{{ else }}{{ dict "at" $at | toJson }}{{ end }}
{{- end }}

{{- /*
What the values say of the pods of tests, as {"env": ..., "none": ...}: environment variables, and in `none`, for the layer, the
requests and limits that are "": an empty variable would be one that is not set. What extraEnv and the layer's own values say is
left to them.
*/}}
{{- define "lotest.settings" -}}
{{- $all := .Values.AsMap }}
{{- $env := list }}
{{- $none := dict }}
{{- $kafka := false }}
{{- $extra := list }}
{{- range .Values.extraEnv }}{{ $extra = append $extra .name }}{{ end }}
{{- range $line := splitList "\n" (include "lotest.table" .) }}
{{- $words := splitList " " $line }}
{{- $variable := index $words 0 }}
{{- $to := index $words 1 }}
{{- $value := "" }}
{{- $isSet := false }}
{{- range $path := slice $words 2 }}
{{- $found := include "lotest.at" (list $all $path) | fromJson }}
{{- /* Of the older names "" is what those who set nothing have in their files, but for requests and limits. */}}
{{- $isOld := hasPrefix "config." $path }}
{{- if hasKey $found "at" }}
{{- if or (not $isOld) (contains ".resource." $path) (ne (toString $found.at) "") }}
{{- $value = $found.at }}
{{- $isSet = true }}
{{- end }}
{{- end }}
{{- end }}
{{- if kindIs "float64" $value }}{{ if eq (floor $value) $value }}{{ $value = int64 $value }}{{ end }}{{ end }}
{{- if eq $variable "KAFKA_SECURITY_ENABLED" }}{{ $kafka = eq (toString $value) "true" }}{{ end }}
{{- $isSecurity := or (hasPrefix "KAFKA_S" $variable) (hasPrefix "KAFKA_CREDENTIALS_" $variable) }}
{{- if and $isSecurity (not $kafka) (ne $variable "KAFKA_SECURITY_ENABLED") }}{{ $isSet = false }}{{ end }}
{{- if has $variable $extra }}{{ $isSet = false }}{{ end }}
{{- if hasKey (include "lotest.at" (list ($all.layer.values | default dict) $to) | fromJson) "at" }}{{ $isSet = false }}{{ end }}
{{- if and $isSet (ne (toString $value) "") }}
{{- $env = append $env (dict "name" $variable "value" (toString $value)) }}
{{- else if and $isSet (or (hasPrefix "resources.common." $to) (hasPrefix "metricsExporter.resources." $to)) }}
{{- $tree := "" }}
{{- range $key := reverse (splitList "." $to) }}{{ $tree = dict $key $tree }}{{ end }}
{{- $none = mergeOverwrite $none $tree }}
{{- end }}
{{- end }}
{{- dict "env" $env "none" $none | toJson }}
{{- end }}

{{- /* The port of the exporter of tests, wherever it is set. */}}
{{- define "lotest.exporterPort" -}}
{{- $port := 9646 }}
{{- range (include "lotest.settings" . | fromJson).env }}
{{- if eq .name "METRICS_EXPORTER_PORT" }}{{ $port = .value }}{{ end }}
{{- end }}
{{- with .Values.layer.values }}
{{- $found := include "lotest.at" (list . "metricsExporter.port") | fromJson }}
{{- if hasKey $found "at" }}{{ $port = int64 $found.at }}{{ end }}
{{- end }}
{{- $port }}
{{- end }}
