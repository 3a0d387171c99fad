// SPDX-License-Identifier: MIT
/*
 * verbs.c - RDMA writes from a buffer that another part of the program gives back to the
 * system and maps anew, as free() and malloc() do. Two queue pairs of this process, connected
 * to each other, stand for two machines.
 *
 *	verbs [--safe|--unsafe]
 *
 * --safe: registrations by hmmu_verbs_get(). --unsafe: registered once and kept. Neither: both,
 * and it fails unless the first is right and the second is not. Exit 77: no RDMA device.
 */
#include <hmmu/verbs.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SIZE 4096

static struct ibv_pd *pd;
static struct ibv_cq *cq;
static struct ibv_qp *qp[2];

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

/* ---- sending ---- */

static void rdma_write(char *from, uint32_t lkey, char *to, uint32_t rkey)
{
	struct ibv_sge sge = {(uintptr_t)from, SIZE, lkey};
	struct ibv_send_wr *bad, wr = {
					 .sg_list = &sge,
					 .num_sge = 1,
					 .opcode = IBV_WR_RDMA_WRITE,
					 .send_flags = IBV_SEND_SIGNALED,
					 .wr.rdma = {(uintptr_t)to, rkey},
				 };
	struct ibv_wc wc;

	need(!ibv_post_send(qp[0], &wr, &bad), "ibv_post_send");
	while (!ibv_poll_cq(cq, 1, &wc))
		;
	need(wc.status == IBV_WC_SUCCESS, ibv_wc_status_str(wc.status));
}

/* Sends what is in @buf now. If it changed on the way, it does so again. */
static void send_safely(struct hmmu_verbs *v, char *buf, char *to, uint32_t rkey)
{
	struct hmmu_region_ref ref;
	bool good;

	do {
		need(!hmmu_verbs_get(v, buf, SIZE, PROT_READ, &ref), "hmmu_verbs_get");
		rdma_write(buf, hmmu_verbs_lkey(&ref), to, rkey);
		good = hmmu_verbs_valid(v, &ref);
		hmmu_verbs_put(v, &ref);
	} while (!good);
}

static char *new_buffer(void *at, char fill)
{
	char *p = mmap(at, SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);

	need(p != MAP_FAILED, "mmap");
	memset(p, fill, SIZE);
	return p;
}

/* Three messages from one address. How many arrived as they were written. */
static int messages(bool safe, char *to, uint32_t rkey)
{
	char *buf = new_buffer(NULL, 'x');
	struct hmmu_verbs *v = NULL;
	struct ibv_mr *mr = NULL;
	int right = 0;

	if (safe)
		need(!hmmu_verbs_open(&v, pd, NULL), "hmmu_verbs_open");
	for (char message = 'A'; message <= 'C'; message++) {
		need(!munmap(buf, SIZE), "munmap");
		new_buffer(buf, message);
		if (!mr && !safe)
			mr = ibv_reg_mr(pd, buf, SIZE, IBV_ACCESS_LOCAL_WRITE);
		if (safe)
			send_safely(v, buf, to, rkey);
		else
			rdma_write(buf, mr->lkey, to, rkey);
		printf("example: %s: sent %c, arrived %c\n", safe ? "safe" : "unsafe", message,
		       *to);
		right += *(volatile char *)to == message;
	}
	need(!(safe ? hmmu_verbs_close(v) : ibv_dereg_mr(mr)), "close");
	need(!munmap(buf, SIZE), "munmap");
	return right;
}

/* ---- two queue pairs ---- */

static void connect_to(struct ibv_qp *q, struct ibv_qp *peer, const struct ibv_gid_entry *gid)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE,
	};

	need(!ibv_modify_qp(q, &attr,
			    IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				    IBV_QP_ACCESS_FLAGS),
	     "to INIT");
	attr.qp_state = IBV_QPS_RTR;
	attr.path_mtu = IBV_MTU_1024;
	attr.dest_qp_num = peer->qp_num;
	attr.max_dest_rd_atomic = 1;
	attr.min_rnr_timer = 12;
	attr.ah_attr = (struct ibv_ah_attr){
		.is_global = 1,
		.port_num = 1,
		.grh = {.dgid = gid->gid,
			.sgid_index = (uint8_t)gid->gid_index,
			.hop_limit = 1},
	};
	need(!ibv_modify_qp(q, &attr,
			    IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				    IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				    IBV_QP_MIN_RNR_TIMER),
	     "to RTR");
	attr.qp_state = IBV_QPS_RTS;
	attr.timeout = 18;
	attr.retry_cnt = attr.rnr_retry = 7;
	need(!ibv_modify_qp(q, &attr,
			    IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				    IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC),
	     "to RTS");
}

static void open_device(struct ibv_device *device)
{
	struct ibv_context *context = ibv_open_device(device);
	struct ibv_gid_entry gid[16];
	ssize_t gids;

	need(context && (pd = ibv_alloc_pd(context)), "ibv_open_device");
	need((cq = ibv_create_cq(context, 4, NULL, NULL, 0)) != NULL, "ibv_create_cq");
	for (int i = 0; i < 2; i++) {
		struct ibv_qp_init_attr attr = {
			.qp_type = IBV_QPT_RC,
			.send_cq = cq,
			.recv_cq = cq,
			.cap = {.max_send_wr = 1,
				.max_recv_wr = 1,
				.max_send_sge = 1,
				.max_recv_sge = 1},
		};

		need((qp[i] = ibv_create_qp(pd, &attr)) != NULL, "ibv_create_qp");
	}
	gids = ibv_query_gid_table(context, gid, 16, 0);
	need(gids > 0, "the device has no address");
	for (int i = 0; i < 2; i++)
		connect_to(qp[i], qp[!i], &gid[gids - 1]);
}

int main(int argc, char **argv)
{
	bool safe = argc < 2 || !strcmp(argv[1], "--safe");
	bool unsafe = argc < 2 || !strcmp(argv[1], "--unsafe");
	struct ibv_device **list = ibv_get_device_list(NULL);
	char *to = new_buffer(NULL, 0);
	bool ok = safe || unsafe;
	struct ibv_mr *target;

	if (!list || !list[0]) {
		printf("example: skipped: no RDMA device (scripts/rdma makes one)\n");
		return 77;
	}
	open_device(list[0]);
	target = ibv_reg_mr(pd, to, SIZE, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	need(target != NULL, "ibv_reg_mr");
	if (safe)
		ok = messages(true, to, target->rkey) == 3;
	if (unsafe)
		ok = messages(false, to, target->rkey) < 3 && ok;
	return !ok;
}
