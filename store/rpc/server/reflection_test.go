package server

import (
	"errors"
	"slices"
	"strings"
	"testing"

	reflectv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

// Both versions of reflection describe all services, so grpcurl can call them.
func TestReflection(t *testing.T) {
	conn := rpctest.Connect(t, serveStore(t, memory.New(), Options{}))
	v1, err := reflectv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The messages of both versions differ only in their names.
	alpha, err := conn.NewStream(t.Context(), &reflectv1.ServerReflection_ServiceDesc.Streams[0],
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(req *reflectv1.ServerReflectionRequest) *reflectv1.ServerReflectionResponse {
		t.Helper()
		if err := v1.Send(req); err != nil {
			t.Fatal(err)
		}
		resp, err := v1.Recv()
		if err != nil || resp.GetErrorResponse() != nil {
			t.Fatalf("%v: %v, %v", req, resp.GetErrorResponse(), err)
		}
		other := new(reflectv1.ServerReflectionResponse)
		if err := errors.Join(alpha.SendMsg(req), alpha.RecvMsg(other)); err != nil || other.GetErrorResponse() != nil {
			t.Fatalf("v1alpha: %v: %v, %v", req, other.GetErrorResponse(), err)
		}
		return resp
	}
	var names []string
	for _, s := range ask(&reflectv1.ServerReflectionRequest{MessageRequest: &reflectv1.ServerReflectionRequest_ListServices{}}).GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	for _, pkg := range []string{wire.TvixPackage, wire.SnixPackage} {
		for _, service := range []string{"BlobService", "DirectoryService"} {
			name := pkg + "." + service
			if !slices.Contains(names, name) {
				t.Errorf("%s is not listed: %v", name, names)
			}
			resp := ask(&reflectv1.ServerReflectionRequest{MessageRequest: &reflectv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}})
			set := new(descriptorpb.FileDescriptorSet)
			for _, b := range resp.GetFileDescriptorResponse().GetFileDescriptorProto() {
				f := new(descriptorpb.FileDescriptorProto)
				if err := proto.Unmarshal(b, f); err != nil {
					t.Fatal(err)
				}
				set.File = append(set.File, f)
			}
			files, err := protodesc.NewFiles(set)
			if err != nil {
				t.Fatal(err)
			}
			checkService(t, files, name, pkg)
		}
	}
}

// checkService checks the methods of a service and their messages.
func checkService(t *testing.T, files *protoregistry.Files, name, pkg string) {
	t.Helper()
	d, err := files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	methods := d.(protoreflect.ServiceDescriptor).Methods()
	put := methods.ByName("Put")
	if put == nil || string(put.Input().ParentFile().Package()) != pkg {
		t.Errorf("%s: Put is %v", name, put)
	}
	if put.Input().Name() != "Directory" {
		return
	}
	node := map[string]string{wire.TvixPackage: "Node", wire.SnixPackage: "Entry"}[pkg]
	for field, kind := range map[protoreflect.Name]string{"directories": "Directory", "files": "File", "symlinks": "Symlink"} {
		if got := put.Input().Fields().ByName(field).Message().FullName(); string(got) != pkg+"."+kind+node {
			t.Errorf("%s: %s are of %s", name, field, got)
		}
	}
	root, err := files.FindDescriptorByName(protoreflect.FullName(pkg + "." + node))
	if err != nil {
		t.Fatal(err)
	}
	oneof := protoreflect.Name(strings.ToLower(node))
	if o := root.(protoreflect.MessageDescriptor).Oneofs(); o.Len() != 1 || o.ByName(oneof) == nil || o.Get(0).Fields().Len() != 3 {
		t.Errorf("%s: %s has no oneof %s", name, root.FullName(), oneof)
	}
}
