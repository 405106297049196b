{{- define "hookline.name" -}}
{{- printf "%s" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "hookline.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}

{{- define "hookline.selector" -}}
app.kubernetes.io/name: hookline
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "hookline.labels" -}}
{{ include "hookline.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "hookline.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "hookline.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end -}}

{{/* Every process has the same secrets and settings; the pod's name is the process's, over its restarts. */}}
{{- define "hookline.environment" -}}
- name: HOOKLINE_HOST
  value: "0.0.0.0"
- name: HOOKLINE_PORT
  value: "8400"
- name: HOOKLINE_LOG_FORMAT
  value: json
{{- if eq .Values.mode "postgres" }}
- name: HOOKLINE_DB
  valueFrom:
    secretKeyRef: {name: {{ .Values.secret.name }}, key: db}
- name: HOOKLINE_INSTANCE
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
{{- if .Values.secret.queue }}
- name: HOOKLINE_QUEUE
  valueFrom:
    secretKeyRef: {name: {{ .Values.secret.name }}, key: queue}
{{- end }}
{{- if .Values.secret.cache }}
- name: HOOKLINE_CACHE
  valueFrom:
    secretKeyRef: {name: {{ .Values.secret.name }}, key: cache}
{{- end }}
{{- else }}
- name: HOOKLINE_DB
  value: sqlite:////var/lib/hookline/hookline.db
{{- end }}
- name: HOOKLINE_KEY
  valueFrom:
    secretKeyRef: {name: {{ .Values.secret.name }}, key: key}
- name: HOOKLINE_SECRET_KEY
  valueFrom:
    secretKeyRef: {name: {{ .Values.secret.name }}, key: secretKey}
{{- range $name, $value := .Values.settings }}
- name: HOOKLINE_{{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* Alive is not ready: a database that is away restarts nothing. */}}
{{- define "hookline.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
readinessProbe:
  httpGet: {path: {{ .readiness | quote }}, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end -}}

{{- define "hookline.spoolEnvironment" -}}
- name: HOOKLINE_SPOOL_PATH
  value: /var/spool/hookline/requests
- name: HOOKLINE_SPOOL_MAX_MIB
  value: {{ .Values.spool.maxMiB | quote }}
{{- end -}}
