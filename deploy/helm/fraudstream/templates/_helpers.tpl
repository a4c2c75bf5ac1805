{{- define "fraudstream.name" -}}
{{- /* 52 letters leave room for an ordinal and a revision in the 63 of a label. */ -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "fraudstream.selector" -}}
app.kubernetes.io/name: fraudstream
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fraudstream.labels" -}}
{{ include "fraudstream.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "fraudstream.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "fraudstream.name" .) "default" .Values.serviceAccount.create) }}
{{- end -}}

{{- define "fraudstream.image" -}}
{{- if .Values.image.digest -}}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "fraudstream.ports" -}}
{{- /* Where the settings send worker and monitor, as a list in JSON: all brokers, and every address that is set. */ -}}
{{- $ports := list -}}
{{- range splitList "," .Values.settings.bootstrap_servers -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" (trim .) | trimPrefix ":" | default "9092") -}}
{{- end -}}
{{- range $name := list "schema_registry_url" "store_endpoint" "sagemaker_url" "otlp_endpoint" -}}
{{- with get $.Values.settings $name -}}
{{- $usual := ternary "443" "80" (hasPrefix "https:" .) -}}
{{- $ports = append $ports (regexFind ":[0-9]+" (urlParse .).host | trimPrefix ":" | default $usual) -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | sortAlpha | toJson -}}
{{- end -}}

{{- define "fraudstream.pod" -}}
serviceAccountName: {{ include "fraudstream.serviceAccount" . }}
# Kubernetes would tell of a service called fraudstream-… in variables that look like settings, and are none.
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 1Gi}
  - name: settings
    configMap: {name: {{ include "fraudstream.name" . }}}
{{- with .Values.secrets.files }}
  - name: files
    secret: {secretName: {{ . }}}
{{- end }}
{{- end -}}

{{- define "fraudstream.placement" -}}
{{- /* Where a pod may go, of the values of the worker or of the monitor; nothing where they are empty. */ -}}
{{- range $name := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" }}
{{- with get $ $name }}
{{ $name }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "fraudstream.container" -}}
image: {{ include "fraudstream.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- with .Values.secrets.settings }}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: settings, mountPath: /etc/fraudstream/settings, readOnly: true}
{{- if .Values.secrets.files }}
  - {name: files, mountPath: /etc/fraudstream/files, readOnly: true}
{{- end }}
{{- end -}}

{{- define "fraudstream.probes" -}}
# Loading a model takes seconds, waiting for a store that is away may take hours: alive, and not ready.
startupProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}
