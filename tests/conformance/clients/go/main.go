// SPDX-License-Identifier: Apache-2.0

// franz-go and sarama: produce with every codec, groups with a rebalance, transactions, admin. One line a check.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var broker, run string

func check(name string, fn func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := fn(ctx); err != nil {
		fmt.Printf("FAIL %s %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
	} else {
		fmt.Printf("ok %s\n", name)
	}
}

func client(opts ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(broker)}, opts...)...)
	if err != nil {
		panic(err)
	}
	return c
}

// ---- franz-go ----

func franzAdmin(ctx context.Context) error {
	c := client()
	defer c.Close()
	adm := kadm.NewClient(c)
	topic := "franz-" + run
	if _, err := adm.CreateTopic(ctx, 4, 1, map[string]*string{"retention.ms": kadm.StringPtr("3600000")}, topic); err != nil {
		return err
	}
	if _, err := adm.CreateTopic(ctx, 1, 1, nil, topic+"-tx"); err != nil {
		return err
	}
	details, err := adm.ListTopics(ctx, topic)
	if err != nil || len(details[topic].Partitions) != 4 {
		return fmt.Errorf("%d partitions, %v", len(details[topic].Partitions), err)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return err
	}
	for _, kv := range configs[0].Configs {
		if kv.Key == "retention.ms" && kv.MaybeValue() != "3600000" {
			return fmt.Errorf("retention.ms is %s", kv.MaybeValue())
		}
	}
	return nil
}

func franzProduce(ctx context.Context) error {
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		c := client(kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic("franz-"+run))
		for i := 0; i < 200; i++ {
			c.Produce(ctx, &kgo.Record{Key: []byte(fmt.Sprint(i)), Value: []byte(strings.Repeat(fmt.Sprint(i), 20))}, func(_ *kgo.Record, err error) {
				if err != nil {
					log.Print(err)
				}
			})
		}
		err := c.Flush(ctx)
		c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func franzGroup(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	topic, group := "franz-"+run, "g-franz-"+run
	var mu sync.Mutex
	seen, owned := 0, map[string]int{}
	consume := func(name string) *kgo.Client {
		track := func(d int) func(context.Context, *kgo.Client, map[string][]int32) {
			return func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
				mu.Lock()
				owned[name] += d * len(m[topic])
				mu.Unlock()
			}
		}
		c := client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(500*time.Millisecond),
			kgo.OnPartitionsAssigned(track(1)), kgo.OnPartitionsRevoked(track(-1)), kgo.OnPartitionsLost(track(-1)))
		go func() {
			for ctx.Err() == nil {
				f := c.PollFetches(ctx)
				mu.Lock()
				seen += f.NumRecords()
				mu.Unlock()
			}
		}()
		return c
	}
	wait := func(what string, ok func() bool) error {
		for ctx.Err() == nil {
			mu.Lock()
			done := ok()
			mu.Unlock()
			if done {
				return nil
			}
			time.Sleep(20 * time.Millisecond)
		}
		return fmt.Errorf("not in time: %s (%d seen, %v)", what, seen, owned)
	}
	a := consume("a")
	defer a.Close()
	if err := wait("1,000 messages", func() bool { return seen == 1000 }); err != nil {
		return err
	}
	if err := a.CommitUncommittedOffsets(ctx); err != nil {
		return err
	}
	b := consume("b")
	defer b.Close()
	if err := wait("both have two", func() bool { return owned["a"] == 2 && owned["b"] == 2 }); err != nil {
		return err
	}
	lags, err := kadm.NewClient(a).Lag(ctx, group)
	if err != nil {
		return err
	}
	if l := lags[group]; len(l.Members) != 2 || l.Lag.Total() != 0 {
		return fmt.Errorf("%d members, lag %d", len(l.Members), l.Lag.Total())
	}
	cancel()
	return nil
}

func franzTransactions(ctx context.Context) error {
	in, out := "franz-"+run, "franz-"+run+"-tx"
	s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(broker), kgo.TransactionalID("t-"+in), kgo.ConsumerGroup("tg-"+in), kgo.ConsumeTopics(in), kgo.DefaultProduceTopic(out),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets(), kgo.MaxConcurrentFetches(1))
	if err != nil {
		return err
	}
	done, round := 0, 0
	for done < 1000 && ctx.Err() == nil {
		fetches := s.PollRecords(ctx, 100)
		if fetches.NumRecords() == 0 {
			continue
		}
		if err := s.Begin(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) { s.Produce(ctx, &kgo.Record{Value: r.Value}, func(*kgo.Record, error) {}) })
		round++
		committed, err := s.End(ctx, kgo.TransactionEndTry(round%3 != 0))
		if err != nil {
			return err
		}
		if committed {
			done += fetches.NumRecords()
		}
	}
	s.Close()
	c := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{out: {0: kgo.NewOffset().AtStart()}}), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer c.Close()
	n := 0
	for quiet := time.Now(); time.Since(quiet) < 2*time.Second && ctx.Err() == nil; {
		short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		if k := c.PollFetches(short).NumRecords(); k > 0 {
			n += k
			quiet = time.Now()
		}
		cancel()
	}
	if n != 1000 {
		return fmt.Errorf("%d records committed, not 1,000", n)
	}
	return nil
}

func franzDelete(ctx context.Context) error {
	c := client()
	defer c.Close()
	adm := kadm.NewClient(c)
	if _, err := adm.DeleteTopic(ctx, "franz-"+run); err != nil {
		return err
	}
	if _, err := adm.DeleteTopic(ctx, "franz-"+run); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("deleted again: %v", err)
	}
	return nil
}

// ---- sarama ----

func saramaConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V3_6_0_0
	c.Producer.Return.Successes = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Group.Session.Timeout = 10 * time.Second
	c.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	return c
}

func saramaAdmin(context.Context) error {
	adm, err := sarama.NewClusterAdmin([]string{broker}, saramaConfig())
	if err != nil {
		return err
	}
	defer adm.Close()
	for name, n := range map[string]int32{"sarama-" + run: 4, "sarama-" + run + "-tx": 1} {
		if err := adm.CreateTopic(name, &sarama.TopicDetail{NumPartitions: n, ReplicationFactor: 1}, false); err != nil {
			return err
		}
	}
	m, err := adm.DescribeTopics([]string{"sarama-" + run})
	if err != nil || len(m[0].Partitions) != 4 {
		return fmt.Errorf("describe: %v", err)
	}
	_, err = adm.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: "sarama-" + run})
	return err
}

func saramaProduce(context.Context) error {
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
		config := saramaConfig()
		config.Producer.Compression = codec
		p, err := sarama.NewSyncProducer([]string{broker}, config)
		if err != nil {
			return err
		}
		var batch []*sarama.ProducerMessage
		for i := 0; i < 200; i++ {
			batch = append(batch, &sarama.ProducerMessage{Topic: "sarama-" + run, Key: sarama.StringEncoder(fmt.Sprint(i)), Value: sarama.StringEncoder(strings.Repeat(fmt.Sprint(i), 20))})
		}
		err = p.SendMessages(batch)
		p.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

type member struct {
	mu    *sync.Mutex
	seen  *int
	owned map[string]int
	name  string
}

func (m member) Setup(s sarama.ConsumerGroupSession) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owned[m.name] = len(s.Claims()["sarama-"+run])
	return nil
}
func (m member) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (m member) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for msg := range claim.Messages() {
		m.mu.Lock()
		*m.seen++
		m.mu.Unlock()
		s.MarkMessage(msg, "")
	}
	return nil
}

func saramaGroup(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var over sync.WaitGroup
	seen, owned := 0, map[string]int{}
	start := func(name string) error {
		g, err := sarama.NewConsumerGroup([]string{broker}, "g-sarama-"+run, saramaConfig())
		if err != nil {
			return err
		}
		over.Add(1)
		go func() {
			defer over.Done()
			defer g.Close()
			for ctx.Err() == nil {
				_ = g.Consume(ctx, []string{"sarama-" + run}, member{&mu, &seen, owned, name})
			}
		}()
		return nil
	}
	wait := func(what string, ok func() bool) error {
		for ctx.Err() == nil {
			mu.Lock()
			done := ok()
			mu.Unlock()
			if done {
				return nil
			}
			time.Sleep(20 * time.Millisecond)
		}
		return fmt.Errorf("not in time: %s (%d seen, %v)", what, seen, owned)
	}
	if err := start("a"); err != nil {
		return err
	}
	if err := wait("1,000 messages", func() bool { return seen >= 1000 }); err != nil {
		return err
	}
	if err := start("b"); err != nil {
		return err
	}
	err := wait("both have two", func() bool { return owned["a"] == 2 && owned["b"] == 2 })
	cancel()
	over.Wait()
	return err
}

func saramaTransactions(context.Context) error {
	config := saramaConfig()
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.Transaction.ID = "t-sarama-" + run
	p, err := sarama.NewSyncProducer([]string{broker}, config)
	if err != nil {
		return err
	}
	defer p.Close()
	out := "sarama-" + run + "-tx"
	for _, end := range []string{"abort", "commit", "abort", "commit"} {
		if err := p.BeginTxn(); err != nil {
			return err
		}
		for i := 0; i < 2; i++ {
			if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: out, Value: sarama.StringEncoder(end)}); err != nil {
				return err
			}
		}
		if end == "commit" {
			err = p.CommitTxn()
		} else {
			err = p.AbortTxn()
		}
		if err != nil {
			return err
		}
	}
	config = saramaConfig()
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	c, err := sarama.NewConsumer([]string{broker}, config)
	if err != nil {
		return err
	}
	defer c.Close()
	pc, err := c.ConsumePartition(out, 0, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	var got []string
	for timeout := time.After(5 * time.Second); len(got) < 4; {
		select {
		case m := <-pc.Messages():
			got = append(got, string(m.Value))
		case <-timeout:
			return fmt.Errorf("only %v", got)
		}
	}
	if strings.Join(got, ",") != "commit,commit,commit,commit" {
		return fmt.Errorf("%v", got)
	}
	return nil
}

func main() {
	broker, run = os.Args[1], os.Args[2]
	sarama.Logger = log.New(io.Discard, "", 0)
	check("franz-go, admin: topics, configs", franzAdmin)
	check("franz-go, produce: none, gzip, snappy, lz4, zstd", franzProduce)
	check("franz-go, group: consume, rebalance, commit, lag", franzGroup)
	check("franz-go, transactions: consume, transform, produce", franzTransactions)
	check("franz-go, admin: delete topics", franzDelete)
	check("sarama, admin: topics, configs", saramaAdmin)
	check("sarama, produce: none, gzip, snappy, lz4, zstd", saramaProduce)
	check("sarama, group: consume, rebalance", saramaGroup)
	check("sarama, transactions: commit, abort", saramaTransactions)
}
