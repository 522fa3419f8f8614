// Both sides of the attestation evidence broker with containerd's ttrpc, for ttrpc.test.ts: `serve SOCKET` answers for the
// guest 7, `call SOCKET SERVICE HANDLE` prints what it was answered.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type sizeRequest struct {
	GuestHandle uint32 `protobuf:"varint,1,opt,name=guest_handle,proto3"`
}

type sizeResponse struct {
	ErrorCode    uint32 `protobuf:"varint,1,opt,name=error_code,proto3"`
	EvidenceSize uint32 `protobuf:"varint,2,opt,name=evidence_size,proto3"`
}

type evidenceRequest struct {
	GuestHandle  uint32 `protobuf:"varint,1,opt,name=guest_handle,proto3"`
	EvidenceSize uint32 `protobuf:"varint,2,opt,name=evidence_size,proto3"`
}

type evidenceResponse struct {
	ErrorCode    uint32 `protobuf:"varint,1,opt,name=error_code,proto3"`
	EvidenceSize uint32 `protobuf:"varint,2,opt,name=evidence_size,proto3"`
	Evidence     []byte `protobuf:"bytes,3,opt,name=evidence,proto3"`
}

func (m *sizeRequest) Reset()              { *m = sizeRequest{} }
func (m *sizeRequest) String() string      { return fmt.Sprint(m.GuestHandle) }
func (m *sizeRequest) ProtoMessage()       {}
func (m *sizeResponse) Reset()             { *m = sizeResponse{} }
func (m *sizeResponse) String() string     { return fmt.Sprint(m.EvidenceSize) }
func (m *sizeResponse) ProtoMessage()      {}
func (m *evidenceRequest) Reset()          { *m = evidenceRequest{} }
func (m *evidenceRequest) String() string  { return fmt.Sprint(m.GuestHandle) }
func (m *evidenceRequest) ProtoMessage()   {}
func (m *evidenceResponse) Reset()         { *m = evidenceResponse{} }
func (m *evidenceResponse) String() string { return fmt.Sprint(m.EvidenceSize) }
func (m *evidenceResponse) ProtoMessage()  {}

const (
	sizeMethod     = "RetrieveAttestationEvidenceSize"
	evidenceMethod = "RetrieveAttestationEvidence"
	structSize     = 6460
)

func serve(path, service string) error {
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	// Large enough for many segments of a stream.
	evidence := []byte(strings.Repeat("0123456789abcdef", 2500))
	known := func(handle uint32) error {
		if handle != 7 {
			return status.Error(codes.NotFound, fmt.Sprintf("no guest %d", handle))
		}
		return nil
	}
	server.Register(service, map[string]ttrpc.Method{
		sizeMethod: func(_ context.Context, unmarshal func(interface{}) error) (interface{}, error) {
			var request sizeRequest
			if err := unmarshal(&request); err != nil {
				return nil, err
			}
			return &sizeResponse{EvidenceSize: structSize}, known(request.GuestHandle)
		},
		evidenceMethod: func(_ context.Context, unmarshal func(interface{}) error) (interface{}, error) {
			var request evidenceRequest
			if err := unmarshal(&request); err != nil {
				return nil, err
			}
			if request.EvidenceSize != structSize {
				return nil, status.Error(codes.InvalidArgument, "evidence_size")
			}
			return &evidenceResponse{EvidenceSize: structSize, Evidence: evidence}, known(request.GuestHandle)
		},
	})
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	return server.Serve(context.Background(), listener)
}

func call(path, service, handle string) error {
	number, err := strconv.ParseUint(handle, 10, 32)
	if err != nil {
		return err
	}
	connection, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	client := ttrpc.NewClient(connection)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var sized sizeResponse
	if err := client.Call(ctx, service, sizeMethod, &sizeRequest{GuestHandle: uint32(number)}, &sized); err != nil {
		return err
	}
	var answer evidenceResponse
	request := &evidenceRequest{GuestHandle: uint32(number), EvidenceSize: sized.EvidenceSize}
	if err := client.Call(ctx, service, evidenceMethod, request, &answer); err != nil {
		return err
	}
	fmt.Println(answer.EvidenceSize, hex.EncodeToString(answer.Evidence))
	return nil
}

func main() {
	var err error
	switch os.Args[1] {
	case "serve":
		err = serve(os.Args[2], os.Args[3])
	case "call":
		err = call(os.Args[2], os.Args[3], os.Args[4])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, status.Code(err), status.Convert(err).Message())
		os.Exit(1)
	}
}
