resource "aws_cloudwatch_log_group" "this" {
  name              = "/fraudstream/${var.environment}"
  retention_in_days = var.log_retention_days
}

resource "aws_ecs_cluster" "this" {
  name = local.name

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

locals {
  slots = { for slot in range(var.workers) : "worker-${slot}" => slot }

  # What runs all the time. Each has the command, its port, and the variables that are its own.
  services = merge(
    {
      for name, slot in local.slots : name => {
        role    = "worker"
        command = ["score"]
        port    = 9464 + slot
        cpu     = var.worker_cpu
        memory  = var.worker_memory
        environment = {
          FRAUDSTREAM_SLOT = tostring(slot)
          # Its log group turns the lines that this asks for into the metrics of alarms.tf.
          FRAUDSTREAM_EMF_SECONDS = "60"
          # A record that crashes a worker is found and quarantined by its parent.
          FRAUDSTREAM_SUPERVISE = "true"
        }
      }
    },
    {
      monitor = {
        role        = "monitor"
        command     = ["drift", "run"]
        port        = 9564
        cpu         = 256
        memory      = 1024
        environment = {}
      }
    },
  )

  # What runs once, when somebody or the clock starts it.
  once = {
    job    = { command = ["models", "list"], cpu = 2048, memory = 8192 }
    topics = { command = ["topics", "--partitions", tostring(var.partitions)], cpu = 256, memory = 512 }
  }

  # Of every container: no root, nothing to write to but /tmp, no privilege.
  container = {
    image                  = var.image
    essential              = true
    user                   = "10001:10001"
    readonlyRootFilesystem = true
    mountPoints            = [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]
    # The longest that Fargate waits after SIGTERM; a transaction may take 30 s.
    stopTimeout     = 120
    linuxParameters = { initProcessEnabled = false, capabilities = { add = [], drop = ["ALL"] } }
  }
}

resource "aws_ecs_task_definition" "service" {
  for_each                 = local.services
  family                   = "${local.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = each.value.cpu
  memory                   = each.value.memory
  execution_role_arn       = aws_iam_role.start.arn
  task_role_arn            = aws_iam_role.task[each.value.role].arn

  volume {
    name = "tmp"
  }

  container_definitions = jsonencode([merge(local.container, {
    name         = each.value.role
    command      = each.value.command
    portMappings = [{ containerPort = each.value.port, protocol = "tcp" }]
    environment  = [for name, value in merge(local.settings, each.value.environment) : { name = name, value = value }]

    healthCheck = {
      command     = ["CMD", "python", "-m", "deploy.probe", "livez", "--port", tostring(each.value.port)]
      interval    = 15
      timeout     = 5
      retries     = 4
      startPeriod = 60
    }

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = var.region
        awslogs-stream-prefix = each.key
      }
    }
  })])
}

resource "aws_ecs_service" "this" {
  for_each        = local.services
  name            = each.key
  cluster         = aws_ecs_cluster.this.id
  task_definition = aws_ecs_task_definition.service[each.key].arn
  launch_type     = "FARGATE"
  desired_count   = 1

  # A slot is one process, ever: the old one ends before the new one starts.
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets         = var.subnet_ids
    security_groups = [aws_security_group.task.id]
  }

  depends_on = [aws_iam_role_policy.kafka, aws_iam_role_policy.read_store]
}

resource "aws_ecs_task_definition" "once" {
  for_each                 = local.once
  family                   = "${local.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = each.value.cpu
  memory                   = each.value.memory
  execution_role_arn       = aws_iam_role.start.arn
  task_role_arn            = aws_iam_role.task[each.key].arn

  volume {
    name = "tmp"
  }

  container_definitions = jsonencode([merge(local.container, {
    name        = each.key
    command     = each.value.command
    environment = [for name, value in local.settings : { name = name, value = value }]

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = var.region
        awslogs-stream-prefix = each.key
      }
    }
  })])
}
